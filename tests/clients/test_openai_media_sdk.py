"""Images, audio and moderations through the official openai package and a real gateway."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx2 as httpx
import openai
import pytest
from tests.fakes.media_upstream import KEY, SOUND, MediaUpstream
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

SECRET = "tg-media-tests-0123456789"
NARROW = "tg-media-narrow-0123456789"
PNG = ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(2000), "image/png")
WAV = ("a.wav", b"RIFF\r\n--boundary" + bytes(range(256)) * 64, "audio/wav")


@pytest.fixture(scope="module")
def upstream() -> Iterator[MediaUpstream]:
    with MediaUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    upstream: MediaUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    config = f"""
server: {{max_body_bytes: 40MiB}}
providers:
  acme: {{kind: openai-compatible, base_url: "{upstream.url}", api_key: env:ACME_KEY}}
models:
  painter: {{targets: [acme/gpt-image-2]}}
  listener: {{targets: [acme/gpt-transcribe]}}
  omni-moderation-latest: {{targets: [acme/omni-moderation-latest]}}
routing: {{retries: 0}}
limits:
  wide: {{per: key, requests: 1000000, window: 1m}}
keys:
  media: {{secret: env:MEDIA_KEY, limits: [wide]}}
  narrow: {{secret: env:NARROW_KEY, models: [painter]}}
"""
    folder = tmp_path_factory.mktemp("media")
    environment = {"ACME_KEY": KEY, "MEDIA_KEY": SECRET, "NARROW_KEY": NARROW}
    with RunningGateway(folder, config, environment=environment) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRET, max_retries=0) as client:
        yield client


@pytest.fixture
def raw(gateway: RunningGateway) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {SECRET}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=20) as raw:
        yield raw


def _row(gateway: RunningGateway, request_id: str) -> dict[str, Any]:
    """Return the ledger's settled row of a request, once it is folded."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with closing(sqlite3.connect(gateway.data_dir / "tidegate.db")) as database:
            database.row_factory = sqlite3.Row
            found = database.execute(
                "SELECT * FROM ledger_attempts WHERE attempt_id LIKE ? AND outcome IS NOT NULL",
                (request_id + ":%",),
            ).fetchall()
        if found:
            assert len(found) == 1
            return dict(found[0])
        time.sleep(0.05)
    raise AssertionError(f"no row of {request_id}")


def test_a_moderation_without_a_model_has_the_documented_one(
    client: openai.OpenAI, upstream: MediaUpstream
) -> None:
    """The field may be left out, and then is sent."""
    answer = client.moderations.create(input="I will hit him")
    assert answer.results[0].flagged
    assert upstream.last.json["model"] == "omni-moderation-latest"
    assert not client.moderations.create(input="hello", model="acme/any").results[0].flagged
    assert upstream.last.json["model"] == "any"


def test_pictures_are_drawn_with_their_usage(
    client: openai.OpenAI, gateway: RunningGateway, upstream: MediaUpstream
) -> None:
    """The model is renamed, and the answer's usage is the ledger's."""
    before = counters(gateway.page())
    whole = client.images.with_raw_response.generate(model="painter", prompt="a tide gate")
    assert whole.parse().data is not None
    assert upstream.last.json == {"model": "gpt-image-2", "prompt": "a tide gate"}
    assert "x-tidegate-usage" not in whole.headers
    assert "set-cookie" not in whole.headers
    after = counters(gateway.page())
    for direction, tokens in (("input", 50), ("output", 4160)):
        grown = after("tidegate_tokens_total", type=direction, model="gpt-image-2")
        assert grown - before("tidegate_tokens_total", type=direction,
                              model="gpt-image-2") == tokens  # fmt: skip


def test_a_streamed_picture_is_whole_when_each_is(client: openai.OpenAI) -> None:
    """Two pictures are two completed events, and the stream ends after the second."""
    events = list(client.images.generate(model="painter", prompt="x", n=2, stream=True))
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.completed",
    ] * 2


def test_a_picture_is_edited_by_a_form(client: openai.OpenAI, upstream: MediaUpstream) -> None:
    """One field of the form changes; the files are the same bytes."""
    answer = client.images.edit(model="painter", image=[PNG, PNG], prompt="more sea")
    assert answer.usage is not None
    form = upstream.last.form
    assert form["model"] == [b"gpt-image-2"]
    assert form["image[]"] == [PNG[1], PNG[1]]
    with pytest.deprecated_call():
        varied = client.images.create_variation(model="painter", image=PNG)
    assert varied.data is not None


def test_speech_passes_through_as_bytes(
    client: openai.OpenAI, gateway: RunningGateway, upstream: MediaUpstream
) -> None:
    """A megabyte of sound arrives whole; its input is estimated, its bytes are no tokens."""
    with client.audio.speech.with_streaming_response.create(
        model="acme/tts", voice="alloy", input="hello " * 50
    ) as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        assert b"".join(answer.iter_bytes()) == SOUND
    page = counters(gateway.page())
    assert page("tidegate_tokens_total", type="output", provider="acme", model="*") == 0
    assert page("tidegate_tokens_total", type="input", provider="acme", model="*") > 40


def test_speech_as_events_tells_its_usage(raw: httpx.Client, gateway: RunningGateway) -> None:
    """`stream_format: sse` is a stream of events with a last one of its own."""
    answer = raw.post(
        "/v1/audio/speech",
        json={"model": "acme/tts", "voice": "a", "input": "x", "stream_format": "sse"},
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.count("data: ") == 2
    row = _row(gateway, answer.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"]) == (14, 101)
    assert (row["endpoint"], row["usage_source"]) == ("audio_speech", "provider")


def test_sound_becomes_text_in_every_format(client: openai.OpenAI, upstream: MediaUpstream) -> None:
    """JSON, plain text and a stream; the file arrives as it was sent."""
    whole = client.audio.transcriptions.create(model="listener", file=WAV)
    assert whole.text == "hello"
    form = upstream.last.form
    assert form["model"] == [b"gpt-transcribe"]
    assert form["file"] == [WAV[1]]
    text = client.audio.transcriptions.create(model="listener", file=WAV, response_format="text")
    assert text == "hello\n"
    events = list(client.audio.transcriptions.create(model="listener", file=WAV, stream=True))
    assert [event.type for event in events][-1] == "transcript.text.done"
    with pytest.deprecated_call():
        translated = client.audio.translations.create(model="listener", file=WAV)
    assert translated.text == "hello"


def test_seconds_of_sound_are_logged_and_cost_no_tokens(
    raw: httpx.Client, gateway: RunningGateway
) -> None:
    """A model that is paid by time tells seconds: they are the provider's word."""
    answer = raw.post(
        "/v1/audio/transcriptions", data={"model": "acme/whisper-1"}, files={"file": WAV}
    )
    assert answer.json()["usage"]["seconds"] == 12.5
    row = _row(gateway, answer.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"]) == (0, 0)
    assert row["usage_source"] == "provider"
    request_id = answer.headers["x-request-id"]
    lines = [line for line in gateway.log.read_text().splitlines() if request_id in line]
    assert json.loads(lines[0])["audio_s"] == 12.5


def test_what_tells_no_usage_says_so(raw: httpx.Client) -> None:
    """A whole answer names the source of its numbers where that is not the provider."""
    answer = raw.post("/v1/moderations", json={"input": "x"})
    assert answer.headers["x-tidegate-usage"] == "none"


def test_a_form_of_25_megabytes_passes(client: openai.OpenAI, upstream: MediaUpstream) -> None:
    """The largest file that the API takes, renamed model and all."""
    big = ("big.wav", bytes(25 * 1024 * 1024), "audio/wav")
    assert client.audio.transcriptions.create(model="listener", file=big).text == "hello"
    assert len(upstream.last.form["file"][0]) == len(big[1])


def test_a_body_over_the_cap_is_refused(client: openai.OpenAI) -> None:
    """413 in the SDK's own class."""
    huge = ("huge.wav", bytes(41 * 1024 * 1024), "audio/wav")
    with pytest.raises((openai.APIStatusError, openai.APIConnectionError)) as refused:
        client.audio.transcriptions.create(model="listener", file=huge)
    if isinstance(refused.value, openai.APIStatusError):
        assert refused.value.status_code == 413


def test_errors_arrive_as_the_sdks_own_classes(client: openai.OpenAI) -> None:
    """Unknown model, missing model, the provider's own refusal and its limit."""
    with pytest.raises(openai.NotFoundError):
        client.images.generate(model="nobody", prompt="x")
    with pytest.raises(openai.BadRequestError):
        client.images.generate(prompt="x")
    with pytest.raises(openai.BadRequestError, match="voice are needed"):
        client.audio.speech.create(model="acme/tts", input="x", voice=None)  # type: ignore[arg-type]
    with pytest.raises(openai.RateLimitError):
        client.audio.speech.create(model="acme/limited", input="x", voice="a")


def test_a_key_with_models_has_no_others(gateway: RunningGateway) -> None:
    """In JSON, in a form, and in a form that hides a second model."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=NARROW, max_retries=0) as narrow:
        assert narrow.images.generate(model="painter", prompt="x").data
        with pytest.raises(openai.NotFoundError):
            narrow.audio.transcriptions.create(model="listener", file=WAV)
        with pytest.raises(openai.NotFoundError):
            narrow.moderations.create(input="x")


def _form(*parts: bytes, boundary: bytes = b"xyz", end: bytes = b"--\r\n") -> bytes:
    mark = b"--" + boundary
    return b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + end


def _field(name: bytes, value: bytes) -> bytes:
    return b'content-disposition: form-data; name="' + name + b'"\r\n\r\n' + value


FILE = b'content-disposition: form-data; name="file"; filename="a"\r\n\r\nRIFF'
AMBIGUOUS: dict[str, Callable[[], bytes]] = {
    "two models": lambda: _form(_field(b"model", b"listener"), FILE, _field(b"model", b"gpt-9")),
    "an escaped name": lambda: _form(_field(b"model", b"listener"), FILE,
                                     _field(b"mod%65l", b"gpt-9")),
    "another case": lambda: _form(_field(b"model", b"listener"), FILE, _field(b"Model", b"gpt-9")),
    "a list": lambda: _form(_field(b"model", b"listener"), FILE, _field(b"model[]", b"gpt-9")),
    "an unquoted name": lambda: _form(_field(b"model", b"listener"), FILE,
                                      b"content-disposition: form-data; name=model\r\n\r\ngpt-9"),
    "a name in another charset": lambda: _form(
        _field(b"model", b"listener"), FILE,
        b"content-disposition: form-data; name*=utf-8''model\r\n\r\ngpt-9"),
    "two dispositions": lambda: _form(
        _field(b"model", b"listener"),
        b'content-disposition: form-data; name="file"\r\n'
        b'content-disposition: form-data; name="model"\r\n\r\ngpt-9'),
    "a bare line feed": lambda: _form(
        _field(b"model", b"listener"), FILE + b"\n--xyz\n" + _field(b"model", b"gpt-9")),
    "something before": lambda: b"\r\n" + _form(_field(b"model", b"listener"), FILE),
    "something behind": lambda: _form(_field(b"model", b"listener"), FILE) + b"--xyz\r\n",
    "no end": lambda: _form(_field(b"model", b"listener"), FILE, end=b""),
    "a model as file": lambda: _form(
        b'content-disposition: form-data; name="model"; filename="m"\r\n\r\nlistener', FILE),
    "an encoded part": lambda: _form(
        _field(b"model", b"listener"), FILE,
        b'content-disposition: form-data; name="x"\r\n'
        b"content-transfer-encoding: base64\r\n\r\nZ3B0LTk="),
    "a folded head": lambda: _form(
        _field(b"model", b"listener"), FILE,
        b'content-disposition: form-data;\r\n name="model"\r\n\r\ngpt-9'),
    "a line in the name": lambda: _form(_field(b"model", b"listener\r\nx"), FILE),
}  # fmt: skip


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_a_form_that_two_parsers_could_read_differently_is_refused(
    raw: httpx.Client, upstream: MediaUpstream, case: str
) -> None:
    """400, and nothing reaches the provider: it must see the model that was checked."""
    before = len(upstream.seen)
    answer = raw.post(
        "/v1/audio/transcriptions",
        content=AMBIGUOUS[case](),
        headers={"content-type": "multipart/form-data; boundary=xyz"},
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert len(upstream.seen) == before


def test_a_cut_answer_is_cut_for_the_client(raw: httpx.Client, gateway: RunningGateway) -> None:
    """Half a sound is never a whole one: the connection ends without the body's end."""
    asked = {"model": "acme/cuts", "voice": "a", "input": "x"}
    with raw.stream("POST", "/v1/audio/speech", json=asked) as answer:
        request_id = answer.headers["x-request-id"]
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
    assert _row(gateway, request_id)["outcome"] == "cut"


def test_a_client_that_does_not_read_holds_the_provider_back(
    gateway: RunningGateway, upstream: MediaUpstream
) -> None:
    """A hundred megabytes are on offer; what nobody reads is not fetched."""
    body = json.dumps({"model": "acme/endless", "voice": "a", "input": "x"}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as lazy:
        lazy.sendall(
            b"POST /v1/audio/speech HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
            + SECRET.encode()
            + b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            + body
        )
        assert lazy.recv(1000).startswith(b"HTTP/1.1 200")
        written, since, deadline = -1, time.monotonic(), time.monotonic() + 10
        while time.monotonic() - since < 0.5 and time.monotonic() < deadline:
            if upstream.written != written:
                written, since = upstream.written, time.monotonic()
            time.sleep(0.02)
        assert 0 < upstream.written < 40 * 1024 * 1024
    deadline = time.monotonic() + 5
    while not upstream.broken and time.monotonic() < deadline:
        time.sleep(0.02)
    assert upstream.broken == 1
