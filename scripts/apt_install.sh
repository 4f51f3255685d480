#!/bin/sh
# Installs the Debian packages of a list that are missing: apt_install.sh LIST_FILE|-
# A line of the list is a package, or `package: what is skipped without it`.
# Without root nothing is installed; what will be skipped is said, and the exit code is 0.
set -eu

list=$(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$1")

is_installed() {
    dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

missing=
notes=
while IFS= read -r line; do
    package=${line%%:*}
    if ! command -v dpkg-query >/dev/null || ! is_installed "$package"; then
        missing="$missing $package"
        notes="$notes  $line
"
    fi
done <<END
$list
END
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "tidegate: not root on a Debian system, so these stay missing, with what that skips:"
    printf '%s' "$notes"
    exit 0
fi

echo "tidegate: installing$missing"
# A package of a server would start it; this file, while it is there, forbids that.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0"
log=$(mktemp)
# shellcheck disable=SC2086
if ! { $apt update && $apt install --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"
