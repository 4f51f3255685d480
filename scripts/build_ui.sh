#!/bin/sh
# Builds the live view of the control port: build_ui.sh [SOURCES [OUTPUT]]
# Checks types and runs the unit tests first. The same sources give the same bytes,
# so a test can compare what is committed with what they build to.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
sources=${1:-$root/ui}
output=${2:-$root/src/tidegate/control/ui}

if ! command -v npm >/dev/null; then
    echo "tidegate: npm is missing; the pages need Node 20.19 or newer to be built" >&2
    exit 1
fi
cd "$sources"
# No package may run a script of its own on this machine.
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
npm run --silent types
npm run --silent test
npm run --silent build -- --outDir "$output" --emptyOutDir
