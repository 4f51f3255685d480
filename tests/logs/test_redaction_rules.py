"""What the log's net catches, what it lets through, and that no text makes it slow."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tidegate.logs.redact import know, redact


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    know(())


@pytest.mark.parametrize(
    "secret",
    [
        "tg-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
        "tg_0123456789abcdef",
        "tga_0123456789abcdef",
        "sk-proj-0123456789abcdef",
        "sk-ant-api03-AbC_dEf-123",
        "AIzaSyA0123456789abcdefghijklmno",
        "gsk_0123456789abcdef",
        "AKIAABCDEFGHIJKLMNOP",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "xoxb-123456789012-abc",
        "ya29.a0AfH6SMBx",
    ],
)
@pytest.mark.parametrize(
    "around", ["{}", "it said {}.", '"{}"', "x={};", "({})", "a/{}/b", "\n{}\n"]
)
def test_tokens_are_known_by_their_shape(secret: str, around: str) -> None:
    """Wherever they stand in a text."""
    assert secret[:-1] not in redact(around.format(secret))
    assert "***" in redact(around.format(secret))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://u:pw0rd@h.example/x?a=1", "GET https://***@h.example/x?a=1"),
        ("http://token@h/", "http://***@h/"),
        ("/v1/models?key=abc123&alt=sse", "/v1/models?key=***&alt=sse"),
        ("?api_key=abc", "?api_key=***"),
        ("&access_token=abc#x", "&access_token=***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("authorization: Basic dTpw", "authorization: Basic ***"),
        ("{'x-api-key': 'abc'}", "{'x-api-key': '***'}"),
        ("{b'authorization': b'Bearer zzz'}", "{b'authorization': b'Bearer ***'}"),
        ('{"Cookie":"session"}', '{"Cookie":"***"}'),
        ("failed with bearer abcdefgh", "failed with bearer ***"),
        ("BASIC dXNlcjpwYXNz", "BASIC ***"),
        ("password=hunter2 next", "password=*** next"),
    ],
)
def test_values_are_known_by_what_stands_before_them(text: str, shown: str) -> None:
    """The name stays, so that a reader knows what was there."""
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "request_id req_01m87fea18x7znwgpadexx0249f0",
        "the model gpt-4o-mini does not exist",
        "http://127.0.0.1:8000/v1/chat/completions",
        "task-force, risk-adjusted, a bearer of news, basic auth",
        "tokens=12 keys=3 input_tokens=1",
        "mail me at a@b.example",
        "src/tidegate/upstream/pool.py:12 send",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """A net that catches words hides what an operator needs."""
    assert redact(text) == text


def test_configured_secrets_are_known_by_their_value() -> None:
    """They need not look like anything."""
    know(["correct horse battery", 'quo"te\\d', "abc"])
    assert redact("a correct horse battery b") == "a *** b"
    line = json.dumps({"reason": 'it was quo"te\\d'})
    assert json.loads(redact(line)) == {"reason": "it was ***"}
    assert redact("abc") == "abc"  # too short to be told from a word
    know(["another secret"])
    assert redact("correct horse battery") == "correct horse battery"


def test_a_json_line_stays_json() -> None:
    """A line that a reader cannot parse is lost with all that it tells."""
    fields = {
        "a": "https://u:p@h/?key=1&token=x",
        "b": 'Authorization: Bearer abc"def',
        "c": ["sk-0123456789ab", "cookie: a=b; c=d"],
        "d": {"api_key=": "{token=abc}"},
        "e": "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n",
        "f": 'it was "-----BEGIN PRIVATE KEY-----\nMIIE" there',
    }
    shown = redact(json.dumps(fields))
    assert set(json.loads(shown)) == set(fields)
    for secret in ("u:p@", "key=1", "token=x", "Bearer abc", "sk-0", "MIIE", "token=abc"):
        assert secret not in shown


@pytest.mark.parametrize(
    "piece",
    [
        "://", "a", "authorization:", "authorization: ", "bearer ", "bearer  ", "key=", "sk-",
        "tg-", "eyJ", "eyJaaaaaaaaaaaa", "eyJaaaaaaaaaaaa.", "-----BEGIN PRIVATE KEY-----", "-",
        "@", "://a", "://a@", "x-api-key=", "AIza", "A", "basic ", " ", "\\", '"',
        "-----BEGIN ", "-----BEGIN A A A ",
    ],
)  # fmt: skip
def test_the_time_is_linear_in_the_text(piece: str) -> None:
    """A megabyte of whatever nearly matches takes no longer than a megabyte of anything."""

    def cpu_s(length: int) -> float:
        text = (piece * (length // len(piece) + 1))[:length]
        started = time.thread_time()
        redact(text)
        return time.thread_time() - started

    # Sixteen times the text takes 16 times as long, or 256 times if it is quadratic. The room of 6
    # and the best of three are for a machine that is busy with other things.
    short = max(min(cpu_s(50_000) for _ in range(3)), 0.002)
    assert min(cpu_s(800_000) for _ in range(3)) < short * 16 * 6
