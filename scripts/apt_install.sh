#!/bin/sh
# Installs missing programs from Debian's packages: apt_install.sh LIST_FILE|-
# A line of the list: PROGRAM PACKAGE, and what is skipped without it.
# Without root nothing is installed; what will be skipped is said, and the exit code is 0.
set -eu

PATH=$PATH:/usr/sbin:/sbin
# Debian keeps the programs of PostgreSQL in a folder of each version.
for folder in /usr/lib/postgresql/*/bin; do PATH=$PATH:$folder; done
missing=
notes=
while read -r program package skipped; do
    case $program in '' | '#'*) continue ;; esac
    command -v "$program" >/dev/null && continue
    missing="$missing $package"
    notes="$notes  $program (package $package): $skipped
"
done <<END
$(cat "$1")
END
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "tidegate: not root on Debian or Ubuntu, so nothing is installed, and these are skipped:"
    printf '%s' "$notes"
    exit 0
fi

echo "tidegate: installing$missing"
# The package of a server would start it; this file, while it is there, forbids that.
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
