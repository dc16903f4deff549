#!/bin/sh
# Run the fast suite on each Python that is promised and found here, one after another, with what later versions
# take away as errors. Usage: test_pythons.sh VERSIONS [PYTEST ARGUMENTS]; "some:N VERSIONS" stops after N of them.
#
# A python3.12 on the path may be a shim of pyenv that stands for nothing: each is asked to run before it counts.
# One that fails keeps none of the others from running. The last lines say which passed, which failed, and which are
# not here. Fails if a suite does, or if none of the Pythons is here; with "some:N" none is as good as few.
set -eu
trap 'exit 130' INT
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

# Where a function is a condition the shell does not stop at a command that fails: the steps are joined.
make_venv() {
    if [ ! -e "$2/stamp" ] || [ requirements/dev.txt -nt "$2/stamp" ] || [ pyproject.toml -nt "$2/stamp" ]; then
        "$1" -m venv --clear "$2" &&
            "$2/bin/python" -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/dev.txt &&
            "$2/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation -e . &&
            touch "$2/stamp"
    fi
}

run_suite() {
    python_of_venv=$1
    shift
    "$python_of_venv" -W error::DeprecationWarning -W error::PendingDeprecationWarning -m pytest \
        -m "not slow and not faults" --numprocesses=2 --dist=worksteal --quiet \
        -W error::DeprecationWarning -W error::PendingDeprecationWarning "$@"
}

passed=""
failed=""
missing=""
for version in $wanted; do
    [ "$(echo "$passed$failed" | wc -w)" -lt "$most" ] || break
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        missing="$missing $version"
        continue
    fi
    venv=.venv-$version
    echo "Python $version: $("$python" --version), $python"
    if make_venv "$python" "$venv" && run_suite "$venv/bin/python" "$@"; then
        passed="$passed $version"
    else
        failed="$failed $version"
    fi
done
echo "passed on:${passed:- none}"
echo "failed on:${failed:- none}"
echo "not here:${missing:- none}"
if [ -n "$failed" ]; then
    exit 1
fi
if [ -z "$passed" ]; then
    echo "none of the Pythons $wanted is here" >&2
    exit "$least"
fi
