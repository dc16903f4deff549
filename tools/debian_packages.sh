#!/bin/sh
# Install the Debian packages that the tests need beyond Python: as root by itself, else say which.
# PostgreSQL comes from a wheel. The tests start these programs themselves: no service is to run because of them.
set -eu
wanted="less prometheus prometheus-alertmanager prometheus-pushgateway"
policy=/usr/sbin/policy-rc.d
missing=""
for package in $wanted; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing
    # shellcheck disable=SC2086
    if command -v systemctl >/dev/null; then systemctl disable --quiet $missing 2>/dev/null || true; fi
else
    echo "the tests need these packages:$missing" >&2
    exit 2
fi
