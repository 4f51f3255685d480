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

find_python() {
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do
        if new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
}

if ! new_enough "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    [ -n "$python" ] || fail "Python 3.11 or newer is needed (set PYTHON=/path/to/python3)"
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        package=python$version-venv
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            fail "$python has no venv module; install it first: sudo apt-get install $package"
        fi
        echo "tidegate: $python has no venv module; installing $package"
        echo "python-venv-module $package" | sh scripts/apt_install.sh -
        "$python" -c 'import ensurepip, venv' || fail "$package did not bring the venv module"
    fi
    echo "tidegate: making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi

echo "tidegate: installing the dependencies of $lock"
export PIP_DISABLE_PIP_VERSION_CHECK=1
pip="$venv/bin/python -m pip --no-input"
$pip install --quiet --require-hashes --only-binary :all: -r "$lock"
$pip install --quiet --no-deps -e .
