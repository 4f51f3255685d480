"""All valid keys of a worker, by digest.

A dict look-up compares digests, not secrets: its time tells an attacker something about a
keyed digest that he cannot compute, and so nothing about any secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from tidegate.config.snapshot import KeySnapshot
from tidegate.errors import Unauthenticated
from tidegate.keys.principal import Principal
from tidegate.keys.secrets import DIGEST_BYTES, MAX_SECRET_BYTES

#: Where SDKs put their key, besides `Authorization: Bearer`.
KEY_HEADERS = (b"x-api-key", b"api-key", b"x-goog-api-key")
_OTHER_HEADERS = frozenset(KEY_HEADERS)

_HOW = "Send it as 'Authorization: Bearer <key>'."


class KeyDirectory:
    """The key table in force.

    Attributes:
        generation: Generation of the table, as its sender counts.
        changes: How often the table was replaced here; never the same twice.
    """

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper
        self._principals: dict[bytes, Principal] = {}
        self.generation = 0
        self.changes = 0

    def __len__(self) -> int:
        return len(self._principals)

    def replace(self, keys: Iterable[KeySnapshot], generation: int) -> None:
        """Put a whole new table in force, with the next request."""
        self._principals = {
            key.digest: Principal(
                key_id=key.id,
                name=key.name,
                team=key.team,
                limits=tuple(key.limits),
                models=None if key.models is None else frozenset(key.models),
                expires_at_ms=key.expires_at_ms,
            )
            for key in keys
        }
        self.generation = generation
        self.changes += 1

    def authenticate(self, headers: dict[bytes, bytes], now_ms: int) -> Principal:
        """Return who sends a request with these headers (lower-case names).

        Raises `Unauthenticated` with a reason: `missing`, `malformed` (no usable secret in a
        known header), `ambiguous` (two different secrets), `unknown`, `expired`.
        """
        authorization = headers.get(b"authorization")
        if (
            authorization is not None
            and authorization[:7] == b"Bearer "
            and not (headers.keys() & _OTHER_HEADERS)
        ):
            secret = authorization[7:].strip() or _secret_of(headers)
        else:
            secret = _secret_of(headers)
        if len(secret) > MAX_SECRET_BYTES:
            raise Unauthenticated("Incorrect API key provided.", reason="malformed")
        principal = self._principals.get(
            blake2b(secret, digest_size=DIGEST_BYTES, key=self._pepper).digest()
        )
        if principal is None:
            raise Unauthenticated("Incorrect API key provided.", reason="unknown")
        if principal.expires_at_ms is not None and principal.expires_at_ms <= now_ms:
            raise Unauthenticated("This API key has expired.", reason="expired")
        return principal


def _secret_of(headers: dict[bytes, bytes]) -> bytes:
    """Find the one secret among all headers that may hold one."""
    found = b""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, rest = authorization.partition(b" ")
        found = rest.strip()
        if scheme.lower() != b"bearer":
            raise Unauthenticated(
                f"The Authorization header holds no API key. {_HOW}", reason="malformed"
            )
    for name in KEY_HEADERS:
        value = headers.get(name)
        if value:
            if found and found != value:
                raise Unauthenticated(
                    "The request holds two different API keys.", reason="ambiguous"
                )
            found = value
    if not found:
        raise Unauthenticated(f"You didn't provide an API key. {_HOW}", reason="missing")
    return found
