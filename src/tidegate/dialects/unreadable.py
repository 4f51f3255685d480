"""What decoding a hostile body can raise."""

from __future__ import annotations

import msgspec

#: Bad syntax or types, bad UTF-8, nesting too deep.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def check_text(body: bytes) -> None:
    """Raise `UnicodeDecodeError` unless *body* is UTF-8.

    Of JSON only the texts that are wanted are decoded; what is passed on as it is must be text too.
    """
    if not body.isascii():
        str(body, "utf-8")
