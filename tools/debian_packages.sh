#!/bin/sh
# Install the Debian packages that the tests need beyond Python: as root by itself, else say which.
# PostgreSQL comes from a wheel, so there is none yet; later tests add their packages to this list.
set -eu
wanted=""
missing=""
for package in $wanted; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing
else
    echo "the tests need these packages:$missing" >&2
    exit 2
fi
