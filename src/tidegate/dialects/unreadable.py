"""What decoding a hostile body can raise."""

from __future__ import annotations

import msgspec

#: Bad syntax or types, bad UTF-8, nesting too deep.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
