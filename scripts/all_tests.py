"""Run all tests, in two runs at once: `make tests`.

Tests of real processes mostly wait; those without mostly compute. Side by side on two cores they
take six tenths of the time. The second run's report follows the first one's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

PYTEST = (sys.executable, "-m", "pytest")
REAL = "process or external"


def main() -> int:
    """Return 0 if both runs passed, else the first exit code that is not 0."""
    with tempfile.TemporaryFile() as report:
        # One cache of failures is enough; two writers would spoil it.
        plain = subprocess.Popen(
            [*PYTEST, "-q", "-m", f"not ({REAL})", "-p", "no:cacheprovider"],
            stdin=subprocess.DEVNULL,
            stdout=report,
            stderr=subprocess.STDOUT,
        )
        try:
            sys.stdout.write("Tests with real processes; the report of all others follows.\n")
            sys.stdout.flush()
            code = subprocess.call([*PYTEST, "-m", REAL], stdin=subprocess.DEVNULL)
            other = plain.wait()
        finally:
            if plain.poll() is None:
                plain.terminate()
                plain.wait()
        report.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(report.read())
        sys.stdout.flush()
    return code or other


if __name__ == "__main__":
    sys.exit(main())
