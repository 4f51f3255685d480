"""Secrets of keys, and the keyed digest that is all we keep of them.

A secret holds 256 random bits, so a plain keyed hash is enough (a slow one protects
passwords, which are guessable); BLAKE2b with the instance's pepper costs 0.6 µs.
"""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "tg-"
DIGEST_BYTES = 32
#: Longest secret that is looked at; a longer one cannot be ours.
MAX_SECRET_BYTES = 512


def new_secret() -> str:
    """Return a new secret, `tg-` and 43 URL-safe characters. It is shown once, never stored."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(secret: bytes, pepper: bytes) -> bytes:
    """Return the 32-byte digest of *secret* under the instance's *pepper* (at most 64 bytes)."""
    return hashlib.blake2b(secret, digest_size=DIGEST_BYTES, key=pepper).digest()


def display(secret: str) -> str:
    """Return what a list may show of a secret: `tg-…` and its last four characters."""
    return (
        f"{PREFIX if secret.startswith(PREFIX) else ''}…{secret[-4:] if len(secret) > 12 else ''}"
    )
