"""Signature version 4 against Amazon's published test suite."""

from __future__ import annotations

import hashlib
import urllib.parse
from datetime import UTC, datetime
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.providers.sigv4 import Credentials, sign

#: Of the suite: everywhere the same account, moment, region, service and host.
CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
MOMENT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
SESSION_TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSP"
    "fIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT"
    "7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlz"
    "m8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = {"content-type": "application/x-www-form-urlencoded"}
SPACED = {"my-header1": " value1", "my-header2": ' "a   b   c"'}

#: Name in the suite → method, target, headers, body, signature.
VECTORS: dict[str, tuple[str, str, dict[str, str], bytes, str]] = {
    "get-vanilla": (
        *("GET", "/", {}, b""),
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "get-vanilla-query-order-key-case": (
        *("GET", "/?Param2=value2&Param1=value1", {}, b""),
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-vanilla-query-unreserved": (
        *("GET", f"/?{UNRESERVED}={UNRESERVED}", {}, b""),
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    "get-unreserved": (
        *("GET", f"/{UNRESERVED}", {}, b""),
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "get-utf8": (
        *("GET", "/\u1234", {}, b""),
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    "get-space": (
        *("GET", "/example space/", {}, b""),
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    ),
    "get-header-value-trim": (
        *("GET", "/", SPACED, b""),
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-vanilla": (
        *("POST", "/", {}, b""),
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "post-x-www-form-urlencoded": (
        *("POST", "/", FORM, b"Param1=value1"),
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
}


def _sign(
    credentials: Credentials, method: str, target: str, headers: dict[str, str], body: bytes
) -> dict[str, str]:
    return sign(
        credentials,
        method=method,
        target=target,
        headers={"host": "example.amazonaws.com", **headers},
        body_sha256=hashlib.sha256(body).hexdigest(),
        moment=MOMENT,
        region="us-east-1",
        service="service",
    )


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_signature_comes_out(name: str) -> None:
    """Method, path, query, headers and body all count."""
    *request, signature = VECTORS[name]
    added = _sign(CREDENTIALS, *request)  # type: ignore[arg-type]
    assert added["authorization"].endswith(f"Signature={signature}")
    assert added["x-amz-date"] == "20150830T123600Z"


def test_a_session_token_is_signed_with_the_rest() -> None:
    """The suite's `post-sts-header-before`."""
    added = _sign(CREDENTIALS._replace(token=SESSION_TOKEN), "POST", "/", {}, b"")
    assert added["x-amz-security-token"] == SESSION_TOKEN
    assert added["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date;x-amz-security-token, "
        "Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
    )


def test_an_encoded_path_is_encoded_once_more() -> None:
    """Model names hold colons: `%3A` on the wire is `%253A` in what is signed."""
    sent = _sign(CREDENTIALS, "POST", "/model/a%3A0/converse", {}, b"")
    plain = _sign(CREDENTIALS, "POST", "/model/a:0/converse", {}, b"")
    assert sent != plain


def test_credentials_never_show_themselves() -> None:
    """Not in a log line, not in a traceback."""
    assert "wJalr" not in f"{CREDENTIALS!r} {CREDENTIALS!s}"


@settings(max_examples=200, deadline=None)
@given(
    # No dots alone: such names are never sent.
    model=st.from_regex(r"\A(?!\.{1,2}\Z)[!-~]{1,60}\Z"),
    body=st.binary(max_size=200),
    token=st.none() | st.just("session-token=="),
)
def test_botocore_signs_the_same(model: str, body: bytes, token: str | None) -> None:
    """For any model name in the path; a second opinion, where the extra is installed."""
    auth = pytest.importorskip("botocore.auth", reason="botocore: the extra `bedrock`")
    requests = pytest.importorskip("botocore.awsrequest")
    keys = pytest.importorskip("botocore.credentials")
    path = f"/model/{urllib.parse.quote(model, safe='')}/converse"
    headers = {
        "host": "bedrock-runtime.us-east-1.amazonaws.com",
        "content-type": "application/json",
    }
    request = requests.AWSRequest(
        "POST", f"https://{headers['host']}{path}", headers=headers, data=body
    )
    signer = auth.SigV4Auth(keys.Credentials("AKID", "secret", token), "bedrock", "us-east-1")
    with mock.patch("botocore.auth.get_current_datetime", return_value=MOMENT):
        signer.add_auth(request)
    added = sign(
        Credentials("AKID", "secret", token),
        method="POST",
        target=path,
        headers=headers,
        body_sha256=hashlib.sha256(body).hexdigest(),
        moment=MOMENT,
        region="us-east-1",
        service="bedrock",
    )
    assert added["authorization"] == request.headers["Authorization"]
