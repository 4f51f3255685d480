"""Fuzz: `make fuzz` for the edge, `make fuzz ARGS="dialects --count N --seed S"` for dialects."""

from __future__ import annotations

import sys

_PARTS = ("edge", "dialects")


def main() -> int:
    """Run the part that the first argument names, the edge if it names none."""
    part = sys.argv.pop(1) if sys.argv[1:2] and sys.argv[1] in _PARTS else "edge"
    if part == "dialects":
        from bench.fuzz_dialects import main as fuzz_dialects

        return fuzz_dialects(sys.argv[1:])
    from bench.fuzz_edge import main as fuzz_edge

    return fuzz_edge()


if __name__ == "__main__":
    sys.exit(main())
