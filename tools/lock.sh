#!/bin/sh
# Write requirements/*.txt from pyproject.toml: exact versions for every platform and Python that we support, with
# the hashes of their files; none younger than a week, so that a release taken over by somebody else is found out
# before we use it.
set -eu
uv=$1
week_ago=$(date -u -d '7 days ago' +%Y-%m-%d 2>/dev/null || date -u -v-7d +%Y-%m-%d)
compile() {
    "$uv" pip compile pyproject.toml --universal --python-version 3.11 --exclude-newer "$week_ago" --no-emit-index-url \
        --no-emit-find-links --no-annotate --generate-hashes --custom-compile-command "make lock" --quiet --output-file "$@"
}
compile requirements/demo.txt --extra demo --group build
compile requirements/dev.txt --extra all --group dev
