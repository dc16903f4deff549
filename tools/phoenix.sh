#!/bin/sh
# Install Arize Phoenix, a real OpenTelemetry backend for `make test-phoenix`, and print the path of its program.
# It has some hundred dependencies of its own (1 GB), so it lives in a virtual environment in the user's cache, outside
# of the checkout and of our lock; it is fetched once for each version.
set -eu
version="${1:?which version of arize-phoenix}"
python="${PYTHON:-python3}"
home="${XDG_CACHE_HOME:-$HOME/.cache}/clew/phoenix-$version"
if [ ! -e "$home/installed" ]; then
    rm -rf "$home"
    "$python" -m venv "$home" >&2
    "$home/bin/python" -m pip --disable-pip-version-check --quiet install "arize-phoenix==$version" >&2
    touch "$home/installed"
fi
echo "$home/bin/phoenix"
