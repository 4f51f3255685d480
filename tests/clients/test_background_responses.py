"""Responses in the background by models whose provider knows nothing of them."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from tests.fakes.responses_upstream import KEY as NATIVE_KEY
from tests.fakes.responses_upstream import TEXT, ResponsesUpstream
from tests.fakes.strict.scenarios import INPUT_TOKENS, OUTPUT_TOKENS, REPLIES
from tests.fakes.strict.server import StrictUpstream
from tests.fakes.strict.wire import KEY
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

ONE = "tg-background-0123456789"
OTHER = "tg-background-other-0123"
FINAL = ("completed", "failed", "cancelled", "incomplete")
SAID = REPLIES["text"].text


@pytest.fixture(scope="module")
def strict() -> Iterator[StrictUpstream]:
    with StrictUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def native() -> Iterator[ResponsesUpstream]:
    with ResponsesUpstream() as running:
        yield running


def _running(folder: Path, strict: StrictUpstream, native: ResponsesUpstream) -> RunningGateway:
    models = "\n".join(
        f"  {back}-{model}: {{targets: [{back}/{model}], retries: 0}}"
        for back in ("chat", "claude")
        for model in ("text", "slow", "error", "first", "amid", "tools")
    )
    config = f"""
providers:
  chat: {{kind: openai, dialects: [openai], base_url: "{strict.url}/openai/v1",
         api_key: env:STRICT_KEY}}
  claude: {{kind: anthropic, base_url: "{strict.url}/anthropic", api_key: env:STRICT_KEY}}
  keeper: {{kind: openai, base_url: "{native.url}", api_key: env:NATIVE_KEY}}
  forgetful: {{kind: groq, base_url: "{native.url}", api_key: env:NATIVE_KEY}}
models:
{models}
  kept: {{targets: [keeper/gpt], retries: 0}}
  forgotten: {{targets: [forgetful/oss], retries: 0}}
limits:
  two: {{per: key, concurrency: 2}}
keys:
  one: {{secret: env:ONE_KEY, limits: [two]}}
  other: {{secret: env:OTHER_KEY}}
"""
    environment = {
        "STRICT_KEY": KEY, "NATIVE_KEY": NATIVE_KEY, "ONE_KEY": ONE, "OTHER_KEY": OTHER,
    }  # fmt: skip
    return RunningGateway(folder, config, workers=2, environment=environment)


@pytest.fixture(scope="module")
def gateway(
    strict: StrictUpstream, native: ResponsesUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    with _running(tmp_path_factory.mktemp("background"), strict, native) as running:
        yield running


def _client(gateway: RunningGateway, secret: str = ONE) -> openai.OpenAI:
    # A connection for each call: one after the other they reach both workers.
    return openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0,
        default_headers={"connection": "close"},
    )  # fmt: skip


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with _client(gateway) as client:
        yield client


@pytest.fixture
def other(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with _client(gateway, OTHER) as client:
        yield client


def _final(client: openai.OpenAI, made: Response, within_s: float = 10) -> Response:
    deadline = time.monotonic() + within_s
    while made.status not in FINAL:
        assert time.monotonic() < deadline, made.status
        time.sleep(0.02)
        made = client.responses.retrieve(made.id)
    return made


@pytest.mark.parametrize("model", ["chat-text", "claude-text", "forgotten"])
def test_made_without_a_client(client: openai.OpenAI, gateway: RunningGateway, model: str) -> None:
    """Queued at once, completed later, and gone on from like any other."""
    made = client.responses.create(model=model, input="hi", background=True, metadata={"a": "b"})
    assert (made.status, made.background, made.output) == ("queued", True, [])
    done = _final(client, made)
    assert done.error is None
    assert (done.status, done.id, done.background) == ("completed", made.id, True)
    assert done.output_text == (TEXT if model == "forgotten" else SAID)
    assert done.usage is not None
    assert done.usage.output_tokens > 0
    assert client.responses.input_items.list(made.id).data[0].type == "message"
    following = client.responses.create(model="chat-text", input="x", previous_response_id=made.id)
    assert following.previous_response_id == made.id
    assert client.responses.cancel(made.id).status == "completed"  # too late


def test_one_key_s_own(client: openai.OpenAI, other: openai.OpenAI) -> None:
    """Another key neither sees nor stops nor reads it."""
    made = client.responses.create(model="chat-slow", input="hi", background=True)
    for ask in (
        lambda: other.responses.retrieve(made.id),
        lambda: other.responses.cancel(made.id),
        lambda: other.responses.delete(made.id),
        lambda: other.responses.retrieve(made.id, stream=True),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert client.responses.cancel(made.id).status == "cancelled"


def test_a_provider_that_keeps_responses_makes_it_itself(
    client: openai.OpenAI, native: ResponsesUpstream
) -> None:
    """The request goes there as it is."""
    client.responses.create(model="kept", input="hi", background=True)
    assert native.last["background"] is True


def test_cancelled_at_any_worker(
    client: openai.OpenAI, strict: StrictUpstream, gateway: RunningGateway
) -> None:
    """The provider's stream is broken off, the response says so, and its place is free again."""
    for _ in range(4):
        before = strict.broken["openai"]
        made = client.responses.create(model="chat-slow", input="hi", background=True)
        begun = time.monotonic()
        assert client.responses.cancel(made.id).status == "cancelled"
        assert time.monotonic() - begun < 2
        assert client.responses.cancel(made.id).status == "cancelled"
        assert client.responses.retrieve(made.id).status == "cancelled"
        while strict.broken["openai"] == before:
            assert time.monotonic() - begun < 5
            time.sleep(0.02)


def test_a_concurrency_limit_holds_for_the_work(client: openai.OpenAI) -> None:
    """Two are being made: a third request waits for neither and is refused."""
    made = [
        client.responses.create(model="chat-slow", input="hi", background=True) for _ in range(2)
    ]
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="chat-text", input="hi")
    for one in made:
        assert client.responses.retrieve(one.id).status in ("queued", "in_progress")
        assert client.responses.cancel(one.id).status == "cancelled"
    assert client.responses.create(model="chat-text", input="hi").output_text == SAID


@pytest.mark.parametrize("model", ["chat-error", "chat-first", "claude-amid"])
def test_what_a_provider_refuses_or_breaks_has_failed(client: openai.OpenAI, model: str) -> None:
    """With the provider's words; nothing is left in progress."""
    made = client.responses.create(model=model, input="hi", background=True)
    done = _final(client, made)
    assert done.status == "failed"
    assert done.error is not None
    assert done.error.message
    events = list(client.responses.retrieve(made.id, stream=True))
    assert events[-1].type == "response.failed"


def test_events_are_read_from_any_place_on(client: openai.OpenAI) -> None:
    """The one who began it may leave; whoever comes back misses nothing and sees nothing twice."""
    stream = client.responses.create(model="chat-text", input="hi", background=True, stream=True)
    seen = []
    for event in stream:
        seen.append(event)
        if event.type == "response.output_text.delta":
            break
    stream.close()
    first: Any = seen[0]
    rest = list(
        client.responses.retrieve(
            first.response.id, stream=True, starting_after=seen[-1].sequence_number
        )
    )
    whole = [*seen, *rest]
    assert [event.sequence_number for event in whole] == list(range(len(whole)))
    assert "".join(e.delta for e in whole if e.type == "response.output_text.delta") == SAID
    last: Any = whole[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == SAID
    again = list(client.responses.retrieve(first.response.id, stream=True, starting_after=10_000))
    assert [event.type for event in again] == ["response.completed"]
    with client.responses.stream(response_id=first.response.id) as helper:
        assert helper.get_final_response().output_text == SAID


def test_a_stream_is_followed_while_it_is_made(client: openai.OpenAI, other: openai.OpenAI) -> None:
    """A reader at another worker sees events as they come, and the end when somebody cancels."""
    made = other.responses.create(model="chat-slow", input="hi", background=True)
    kinds = []
    for event in other.responses.retrieve(made.id, stream=True):
        kinds.append(event.type)
        if kinds.count("response.output_text.delta") == 1:
            other.responses.cancel(made.id)
    assert kinds[-1] == "response.cancelled"


def test_any_kept_response_can_be_streamed(client: openai.OpenAI) -> None:
    """From its end events are made; the SDK's helper finds the same response in them."""
    for model in ("chat-text", "chat-tools"):
        tool: Any = {
            "type": "function", "name": "get_weather", "strict": False,
            "parameters": {"type": "object", "properties": {}},
        }  # fmt: skip
        made = client.responses.create(model=model, input="hi", tools=[tool])
        with client.responses.stream(response_id=made.id) as stream:
            numbers = [event.sequence_number for event in stream]
            final = stream.get_final_response()
        assert numbers == list(range(len(numbers)))
        assert final.output_text == made.output_text
        assert [item.type for item in final.output] == [item.type for item in made.output]
    with pytest.raises(openai.BadRequestError):
        client.responses.retrieve(made.id, stream=True, starting_after=-1)


def test_deleted_while_it_is_made(client: openai.OpenAI, strict: StrictUpstream) -> None:
    """It is stopped first, and does not come back."""
    made = client.responses.create(model="chat-slow", input="hi", background=True)
    client.responses.delete(made.id)
    time.sleep(0.3)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_deleted_and_cancelled_at_once(client: openai.OpenAI, gateway: RunningGateway) -> None:
    """By several at both workers: each is told that it is done, or that there is none."""
    for _ in range(3):
        made = client.responses.create(model="chat-slow", input="hi", background=True)

        def end(number: int, made: Response = made) -> int:
            with _client(gateway) as one:
                try:
                    if number % 2:
                        one.responses.delete(made.id)
                    else:
                        one.responses.cancel(made.id)
                except openai.APIStatusError as error:
                    return error.status_code
            return 200

        with ThreadPoolExecutor(6) as threads:
            statuses = list(threads.map(end, range(6)))
        assert 200 in statuses
        assert set(statuses) <= {200, 404}
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)


def test_what_a_killed_worker_left_of_a_deleted_one_goes(
    client: openai.OpenAI, gateway: RunningGateway
) -> None:
    """Deleting again finds no response, but leaves nothing of it behind."""
    made = client.responses.create(model="chat-text", input="secret " * 20_000, background=True)
    _final(client, made)
    (large,) = (gateway.data_dir / "responses").rglob("*.input")
    large.with_suffix("").unlink()
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(made.id)
    assert list(large.parent.glob(f"{large.stem}*")) == []


def test_what_cannot_be_begun_is_said(client: openai.OpenAI) -> None:
    """Nothing to come back for, something unfinished to go on from, a stored prompt."""
    for fields, param in (
        ({"background": True, "store": False}, "store"),
        ({"background": "yes"}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"conversation": "conv_1"}, "conversation"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model="chat-text", input="x", extra_body=fields)
        assert refused.value.param == param
    made = client.responses.create(model="chat-slow", input="hi", background=True)
    with pytest.raises(openai.BadRequestError, match="still being made"):
        client.responses.create(model="chat-text", input="x", previous_response_id=made.id)
    client.responses.cancel(made.id)


def test_counted_in_ledger_and_metrics(client: openai.OpenAI, gateway: RunningGateway) -> None:
    """One row with its tokens; the work has an endpoint of its own on the page."""
    total = counters(gateway.page())
    before = total("tidegate_requests_total", endpoint="responses_background", status="200")
    made = client.responses.create(model="chat-text", input="hi", background=True)
    _final(client, made)
    total = counters(gateway.page())
    after = total("tidegate_requests_total", endpoint="responses_background", status="200")
    assert after == before + 1
    assert total("tidegate_requests_in_flight") <= 1
    rows = _rows(gateway, made.id)
    assert [(row["endpoint"], row["outcome"]) for row in rows] == [("responses_background", "ok")]
    assert (rows[0]["input_tokens"], rows[0]["output_tokens"]) == (INPUT_TOKENS, OUTPUT_TOKENS)


def _rows(gateway: RunningGateway, response_id: str) -> list[sqlite3.Row]:
    """Return the ledger's settled rows of a response's attempts, once there is one."""
    deadline = time.monotonic() + 10
    with contextlib.closing(sqlite3.connect(gateway.data_dir / "tidegate.db")) as database:
        database.row_factory = sqlite3.Row
        while True:
            rows = database.execute(
                "SELECT * FROM ledger_attempts WHERE attempt_id LIKE ? AND outcome IS NOT NULL",
                (f"%{response_id.removeprefix('resp_')}%",),
            ).fetchall()
            if rows:
                return rows
            assert time.monotonic() < deadline, "no row of the ledger"
            time.sleep(0.02)


def _workers(gateway: RunningGateway) -> list[int]:
    assert gateway.process is not None
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "status").read_text()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"PPid:\t{gateway.process.pid}\n" in status and b"worker" in command:
                found.append(int(entry.name))
    return found


def test_nothing_stays_in_progress_when_its_worker_is_killed(
    strict: StrictUpstream, native: ResponsesUpstream, tmp_path: Path
) -> None:
    """The next one who asks is told that it has failed, and so is who was reading."""
    with _running(tmp_path, strict, native) as gateway, _client(gateway, OTHER) as client:
        made = [
            client.responses.create(model="chat-slow", input="hi", background=True)
            for _ in range(4)
        ]
        workers = _workers(gateway)
        assert len(workers) == 2
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 15
        for one in made:
            while True:
                try:
                    now = client.responses.retrieve(one.id)
                    break
                except (openai.APIConnectionError, openai.InternalServerError):
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            assert now.status == "failed"
            assert now.error is not None
            assert now.error.code == "server_error"
            assert (
                list(client.responses.retrieve(one.id, stream=True))[-1].type == "response.failed"
            )


def test_a_stop_ends_what_is_made_and_says_so(
    strict: StrictUpstream, native: ResponsesUpstream, tmp_path: Path
) -> None:
    """After the drain's time: the response has failed, in the file itself."""
    gateway = _running(tmp_path, strict, native)
    gateway.config.write_text("server: {drain_seconds: 1}\n" + gateway.config.read_text())
    with gateway, _client(gateway, OTHER) as client:
        made = client.responses.create(model="chat-slow", input="hi", background=True)
        gateway.stop()
        gateway.start()
        now = client.responses.retrieve(made.id)
        assert now.status == "failed"
        assert now.error is not None
        assert "stopped" in now.error.message
