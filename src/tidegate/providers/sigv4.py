"""Signature version 4 of Amazon Web Services.

    canonical = method, path, query, headers, names of headers, sha256 of the body
    signature = hmac(key of day, region and service, algorithm, time, scope, sha256 of canonical)

Source: "Create a signed AWS API request" in the IAM user guide.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Credentials(NamedTuple):
    """Keys of an account or a role. `token` is that of temporary ones."""

    access_key_id: str
    secret_access_key: str
    token: str | None = None

    def __repr__(self) -> str:  # type: ignore[explicit-override] # a worker loads no package for it
        """Show nothing."""
        return "Credentials(…)"


def sign(
    credentials: Credentials,
    *,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body_sha256: str,
    moment: datetime,
    region: str,
    service: str,
) -> dict[str, str]:
    """Return the headers that authorize a request: `x-amz-date`, `authorization` and the token.

    Args:
        credentials: Whose.
        method: `POST`.
        target: Path and query as they will be sent. The path is encoded once more for the
            signature, as every service but S3 wants it.
        headers: What is signed beside the returned ones: lower-case name → value as sent. Must
            hold `host`.
        body_sha256: Of the body as it will be sent, in hexadecimal.
        moment: Now, in UTC; the service takes five minutes of difference.
        region: Such as `eu-central-1`.
        service: Such as `bedrock`.
    """
    time = moment.strftime("%Y%m%dT%H%M%SZ")
    added = {"x-amz-date": time}
    if credentials.token is not None:
        added["x-amz-security-token"] = credentials.token
    path, _, query = target.partition("?")
    signed = sorted({**headers, **added}.items())
    names = ";".join(name for name, _ in signed)
    canonical = "\n".join(
        (
            method,
            quote(path, safe="/-_.~"),
            _canonical_query(query),
            "".join(f"{name}:{' '.join(value.split())}\n" for name, value in signed),
            names,
            body_sha256,
        )
    )
    scope = f"{time[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join((_ALGORITHM, time, scope, digest))
    key = _signing_key(credentials.secret_access_key, time[:8], region, service)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    added["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return added


def _canonical_query(query: str) -> str:
    """Return an encoded query with its parameters in order."""
    if not query:
        return ""
    pairs = [part.partition("=") for part in query.split("&")]
    return "&".join(f"{name}={value}" for name, _, value in sorted(pairs))


@lru_cache(maxsize=64)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """Return the key of one day; the same for all requests of that day."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
