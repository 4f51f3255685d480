"""Reading and rewriting a request without touching what is not ours."""

from __future__ import annotations

import json

import msgspec
import pytest

from tidegate.dialects.openai.request import ModelRequest
from tidegate.errors import BadRequest


def _body_for(body: bytes, model: str, *, force_usage: bool = False) -> bytes:
    request = ModelRequest(body)
    return request.body_for(model, msgspec.Raw(json.dumps(model).encode()), force_usage=force_usage)


def test_the_clients_bytes_are_sent_when_nothing_changes() -> None:
    """Odd spacing, unknown fields and key order reach the provider as they came."""
    body = b'{ "zeta":1.50, "model":"m", "messages":[ {"role":"user","content":"\xc3\xa9"} ] }'
    assert _body_for(body, "m") is body


def test_only_the_model_changes_when_it_must() -> None:
    """Nested values keep their bytes; unknown fields stay."""
    body = b'{"model":"a","x-new":{"b":[1.0,  2]},"messages":[]}'
    assert _body_for(body, "b") == b'{"model":"b","x-new":{"b":[1.0,  2]},"messages":[]}'


def test_usage_is_forced_into_a_stream_and_other_options_stay() -> None:
    """`include_usage` is added beside the client's own stream options."""
    body = b'{"model":"m","stream":true,"stream_options":{"include_obfuscation":false}}'
    sent = json.loads(_body_for(body, "m", force_usage=True))
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_usage_is_not_forced_where_it_is_asked_for_or_nothing_streams() -> None:
    """Then the client's bytes are good as they are."""
    asked = b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}'
    assert ModelRequest(asked).wants_usage
    assert _body_for(asked, "m", force_usage=True) is asked
    plain = b'{"model":"m","stream":false}'
    assert _body_for(plain, "m", force_usage=True) is plain


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"expensive","model":"cheap"}',
        b'{"model":"expensive","mod\\u0065l":"cheap"}',
        b'{"\\u006dodel":"expensive","model":"cheap"}',
    ],
)
def test_a_repeated_model_never_reaches_a_provider(body: bytes) -> None:
    """What we checked is what is sent: one model, ours."""
    assert ModelRequest(body).model == "cheap"
    pairs = json.loads(_body_for(body, "cheap"), object_pairs_hook=list)
    assert pairs == [("model", "cheap")]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b"{", None),
        (b'{"messages":[]}', "model"),
        (b'{"model":7}', "model"),
        (b'{"model":null}', "model"),
        (b'{"model":"m","stream":"yes"}', "stream"),
        (b'{"model":"m","stream":true,"stream_options":7}', "stream_options"),
        (b'{"model":"m"} trailing', None),
        (b'{"model":"\xff"}', "model"),
        (b'{"model":"m","\xff":1}', None),
        (b'{"model":"m","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    ],
)
def test_a_body_that_cannot_be_read_is_a_400_that_names_the_field(
    body: bytes, param: str | None
) -> None:
    """Every unreadable body is the client's error, without quoting the body."""
    with pytest.raises(BadRequest) as caught:
        ModelRequest(body)
    assert caught.value.param == param
    assert "trailing" not in caught.value.message.split("(")[0]
