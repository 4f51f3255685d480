#!/bin/sh
# Installs what tests/cross/test_frameworks.py plays: install_frameworks.sh VENV
# LangChain and pydantic-ai go into an environment of their own, so that they never hold back a
# version that the gateway is tested with; Vercel's AI SDK goes beside its lock file, where npm is.
# Without them the test skips. In CI (CI is set) an installation that fails is a failure.
set -eu

venv=$1
python=${2:-.venv/bin/python}
folder=tests/cross/frameworks

skip() {
    echo "tidegate: $*; tests/cross/test_frameworks.py will skip a part" >&2
}

fail() {
    skip "$@"
    [ -z "${CI:-}" ] || exit 1
}

echo "tidegate: installing the frameworks of $folder"
export PIP_DISABLE_PIP_VERSION_CHECK=1
if ! "$python" -m venv --clear "$venv" || ! "$venv/bin/python" -m pip --no-input install --quiet \
    --require-hashes --only-binary :all: -r "$folder/requirements.lock"; then
    rm -rf "$venv"
    fail "LangChain and pydantic-ai could not be installed"
fi

if ! command -v npm >/dev/null; then
    skip "npm is not here, which the AI SDK comes with (Node 18 or newer)"
# No package may run a script of its own on this machine.
elif ! npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error; then
    rm -rf "$folder/node_modules"
    fail "the AI SDK could not be installed"
fi
