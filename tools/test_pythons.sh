#!/bin/sh
# Run the fast suite on each Python that is promised and found here, one after another, with what later versions
# take away as errors. Usage: test_pythons.sh VERSIONS [PYTEST ARGUMENTS]; "some:N VERSIONS" stops after N of them.
#
# A python3.12 on the path may be a shim of pyenv that stands for nothing: each is asked to run before it counts.
# Fails if a suite does, or if none of the Pythons is here; with "some:N" none is as good as few.
set -eu
most=99
least=1
case $1 in
some:*)
    most=${1#some:}
    least=0
    shift
    ;;
esac
wanted=$1
shift

find_python() {
    for place in "$(command -v "python$1" 2>/dev/null || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"${1%t}".*"${1#"${1%t}"}"/bin/"python$1" \
        "${XDG_DATA_HOME:-$HOME/.local/share}"/uv/python/cpython-"${1%t}".*/bin/"python$1" /usr/bin/"python$1" /usr/local/bin/"python$1"; do
        if [ -x "$place" ] && "$place" -c 'import venv, ssl' 2>/dev/null; then
            echo "$place"
            return
        fi
    done
}

ran=""
for version in $wanted; do
    [ "$(echo "$ran" | wc -w)" -lt "$most" ] || break
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "Python $version: not here, skipped"
        continue
    fi
    venv=.venv-$version
    if [ ! -e "$venv/stamp" ] || [ requirements/dev.txt -nt "$venv/stamp" ] || [ pyproject.toml -nt "$venv/stamp" ]; then
        "$python" -m venv --clear "$venv"
        "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/dev.txt
        "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation -e .
        touch "$venv/stamp"
    fi
    echo "Python $version: $("$venv/bin/python" --version), $python"
    "$venv/bin/python" -W error::DeprecationWarning -W error::PendingDeprecationWarning -m pytest \
        -m "not slow and not faults" --numprocesses=2 --dist=worksteal --quiet \
        -W error::DeprecationWarning -W error::PendingDeprecationWarning "$@"
    ran="$ran $version"
done
if [ -z "$ran" ]; then
    echo "none of the Pythons $wanted is here" >&2
    exit "$least"
fi
echo "passed on$ran"
