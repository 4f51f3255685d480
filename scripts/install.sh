#!/bin/sh
# Installs Tidegate, editable, into a virtual environment: install.sh VENV LOCK_FILE
# Every dependency comes from the lock file, with its hash checked.
set -eu

venv=$1
lock=$2

fail() {
    echo "tidegate: $*" >&2
    exit 1
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

can_make_venv() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

# Microseconds of some work like ours. Builds of one version differ by a seventh: those that were
# optimised with a profile, as distributions make them, and those that version managers compile.
time_us() {
    "$1" -c '
import time

class Item:
    __slots__ = ("name", "number")

def work():
    items = {}
    for number in range(20_000):
        item = Item()
        item.number = number
        item.name = b"%d:%b" % (number, b"x")
        items[item.name] = item

def once():
    began = time.perf_counter()
    work()
    return time.perf_counter() - began

print(int(min(once() for _ in range(9)) * 1e6))'
}

# The first one that is good enough, unless another is a twelfth faster.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        if new_enough "$PYTHON"; then command -v "$PYTHON"; fi
        return
    fi
    first= best= best_us= seen=
    for candidate in python3 python3.11 python3.12 python3.13 python3.14 \
        /usr/bin/python3 /usr/bin/python3.1[1-9] /usr/local/bin/python3; do
        new_enough "$candidate" || continue
        real=$("$candidate" -c 'import os, sys; print(os.path.realpath(sys.executable))')
        case "$seen" in *":$real:"*) continue ;; esac
        seen="$seen:$real:"
        [ -n "$first" ] || first=$(command -v "$candidate")
        can_make_venv "$candidate" || continue
        us=$(time_us "$candidate")
        if [ -z "$best" ] || [ $((us * 12)) -lt $((best_us * 11)) ]; then
            best=$(command -v "$candidate") best_us=$us
        fi
    done
    echo "${best:-$first}"
}

if ! new_enough "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    [ -n "$python" ] || fail "Python 3.11 or newer is needed (set PYTHON=/path/to/python3)"
    if ! can_make_venv "$python"; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        package=python$version-venv
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            fail "$python has no venv module; install it first: sudo apt-get install $package"
        fi
        echo "tidegate: $python has no venv module; installing $package"
        echo "python-venv-module $package" | sh scripts/apt_install.sh -
        can_make_venv "$python" || fail "$package did not bring the venv module"
    fi
    echo "tidegate: making $venv with $("$python" --version), $python"
    "$python" -m venv --clear "$venv"
fi

echo "tidegate: installing the dependencies of $lock"
export PIP_DISABLE_PIP_VERSION_CHECK=1
pip="$venv/bin/python -m pip --no-input"
$pip install --quiet --require-hashes --only-binary :all: -r "$lock"
$pip install --quiet --no-deps -e .
