"""Streams: whole ones end in [DONE], cut ones in an error event, silent ones stay alive."""

from __future__ import annotations

import asyncio
import json

import pytest
from scene import ANSWER, FakeAnswer, FakeExchange, FakeUpstream, Scene, chat

from tidegate.dialects.openai.stream import CompletionStream
from tidegate.pipeline import relay
from tidegate.upstream.answer import UpstreamFault

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


def _event(content: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


FIRST, LAST = _event("yo"), _event("", "stop")
USAGE_EVENT = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
CUT = UpstreamFault("truncated", "x", sent=True, answered=True)


async def _stream(*pieces: object, **more: object) -> tuple[FakeExchange, Scene, FakeUpstream]:
    up = FakeUpstream(FakeAnswer(pieces=list(pieces)))  # type: ignore[arg-type]
    scene = Scene({"m": [up]}, retries=0)
    done = await scene.run(FakeExchange(body=chat(stream=True, **more)))
    return done, scene, up


async def test_a_whole_stream_passes_through_with_usage_hidden() -> None:
    """Usage is asked for upstream, read, counted, and kept from a client that did not ask."""
    done, scene, up = await _stream(FIRST, LAST + USAGE_EVENT + DONE)
    assert done.sent == FIRST + LAST + DONE
    assert done.ended
    assert done.answer_headers["content-type"].startswith("text/event-stream")
    assert done.answer_headers["x-request-id"]
    assert json.loads(up.sent[0][1])["stream_options"] == {"include_usage": True}
    assert scene.count("tokens", "p0", "m-up", "output") == 2
    assert scene.count("upstream_requests", "p0", "m-up", "ok") == 1


async def test_usage_is_shown_to_a_client_that_asked() -> None:
    """Then it passes through like any other event."""
    done, _, _ = await _stream(
        FIRST, LAST, USAGE_EVENT, DONE, stream_options={"include_usage": True}
    )
    assert done.sent == FIRST + LAST + USAGE_EVENT + DONE


async def test_a_forgotten_done_is_added() -> None:
    """The reason to finish makes a stream whole."""
    done, _, _ = await _stream(FIRST, LAST)
    assert done.sent == FIRST + LAST + DONE


@pytest.mark.parametrize("end", [(), (CUT,), (b'data: {"cho', CUT)])
async def test_a_cut_stream_ends_in_an_error_event_without_done(end: tuple[object, ...]) -> None:
    """Nothing of a half event is shown, and the outcome is not a success."""
    done, scene, _ = await _stream(FIRST, *end)
    assert done.sent.startswith(FIRST)
    rest = done.sent.removeprefix(FIRST)
    error = json.loads(rest.removeprefix(b"data: "))
    assert error["error"]["code"] == "upstream_error"
    assert b"[DONE]" not in done.sent
    assert done.ended
    assert scene.count("upstream_requests", "p0", "m-up", "ok") == 0


async def test_an_upstreams_error_event_is_the_last_one() -> None:
    """Its own words reach the client; nothing follows."""
    error = b'data: {"error":{"message":"overloaded"}}\n\n'
    done, _, _ = await _stream(FIRST, error, DONE)
    assert done.sent == FIRST + error


async def test_an_error_as_first_event_is_tried_elsewhere() -> None:
    """A 200 that begins with an error has given the client nothing yet."""
    failing = FakeUpstream(FakeAnswer(pieces=[b'data: {"error":{"message":"x","code":503}}\n\n']))
    good = FakeUpstream(FakeAnswer(pieces=[FIRST, LAST, DONE]))
    scene = Scene({"m": [failing, good]}, retries=1)
    done = await scene.run(FakeExchange(body=chat(stream=True)))
    assert done.sent == FIRST + LAST + DONE
    assert len(good.sent) == 1


async def test_a_refusal_as_first_event_becomes_its_status() -> None:
    """The client sees 400 and the provider's words, not an empty stream."""
    up = FakeUpstream(FakeAnswer(pieces=[b'data: {"error":{"message":"bad","code":400}}\n\n']))
    done = await Scene({"m": [up]}).run(FakeExchange(body=chat(stream=True)))
    assert done.status == 400
    assert done.json["error"]["message"] == "bad"


async def test_a_stream_that_dies_before_its_first_event_is_tried_elsewhere() -> None:
    """Nothing was seen, so nothing is lost."""
    dead, good = (
        FakeUpstream(FakeAnswer(pieces=[CUT])),
        FakeUpstream(FakeAnswer(pieces=[FIRST, LAST, DONE])),
    )
    done = await Scene({"m": [dead, good]}, retries=1).run(FakeExchange(body=chat(stream=True)))
    assert done.sent == FIRST + LAST + DONE


async def test_an_early_error_of_a_stream_request_is_plain_json() -> None:
    """Before the first byte an error has its own status."""
    up = FakeUpstream(FakeAnswer(500, b"{}"))
    done = await Scene({"m": [up]}, retries=0).run(FakeExchange(body=chat(stream=True)))
    assert done.status == 502
    assert done.json["error"]["code"] == "upstream_error"


async def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long prefill does not let proxies time out; the answer still comes whole."""
    monkeypatch.setattr(relay, "SILENCE_S", 0.03)
    gate = asyncio.Event()
    up = FakeUpstream(FakeAnswer(pieces=[gate, FIRST, LAST, DONE]))
    scene = Scene({"m": [up]})
    exchange = FakeExchange(body=chat(stream=True))
    task = asyncio.create_task(scene.run(exchange))
    while exchange.sent.count(b": keep-alive\n\n") < 2:
        await asyncio.sleep(0.005)
    gate.set()
    await task
    assert exchange.sent.replace(b": keep-alive\n\n", b"") == FIRST + LAST + DONE


async def test_an_error_after_comments_is_in_band(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status has left already; the error is the stream's only event."""
    monkeypatch.setattr(relay, "SILENCE_S", 0.03)
    up = FakeUpstream(FakeAnswer(500, b"{}"))
    up.waiting = asyncio.Event()
    scene = Scene({"m": [up]}, retries=0)
    exchange = FakeExchange(body=chat(stream=True))
    task = asyncio.create_task(scene.run(exchange))
    while not exchange.sent:
        await asyncio.sleep(0.005)
    up.waiting.set()
    await task
    assert exchange.status == 200
    last = exchange.sent.replace(b": keep-alive\n\n", b"")
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_error"
    assert exchange.ended


async def test_a_slow_client_holds_back_the_upstream_and_one_that_leaves_cancels_it() -> None:
    """Back-pressure and cancellation reach the provider's connection."""
    gate = asyncio.Event()
    answer = FakeAnswer(pieces=[FIRST, gate])
    scene = Scene({"m": [FakeUpstream(answer)]})
    exchange = FakeExchange(body=chat(stream=True))
    task = asyncio.create_task(scene.run(exchange))
    while not exchange.sent:
        await asyncio.sleep(0)
    assert exchange.watcher is not None
    exchange.watcher.client_slow()
    assert answer.paused
    exchange.watcher.client_ready()
    assert not answer.paused
    exchange.leave()
    await task
    assert answer.cancelled
    assert scene.count("disconnects", "answer") == 1


async def test_a_whole_answer_to_a_stream_request_is_passed_on_as_it_is() -> None:
    """Content type decides how SDKs read it."""
    up = FakeUpstream(FakeAnswer(body=ANSWER))
    done = await Scene({"m": [up]}).run(FakeExchange(body=chat(stream=True)))
    assert (done.status, done.sent) == (200, ANSWER)


async def test_a_stop_of_the_process_ends_a_stream_in_an_error_event() -> None:
    """A cancelled task whose client is still there says so."""
    gate = asyncio.Event()
    scene = Scene({"m": [FakeUpstream(FakeAnswer(pieces=[FIRST, gate]))]})
    exchange = FakeExchange(body=chat(stream=True))
    task = asyncio.create_task(scene.pipeline(exchange))  # type: ignore[arg-type]
    while not exchange.sent:
        await asyncio.sleep(0)
    task.cancel()
    await task
    error = json.loads(exchange.sent.removeprefix(FIRST).removeprefix(b"data: "))
    assert error["error"]["code"] == "service_unavailable"
    assert exchange.ended


async def test_a_stream_of_two_choices_is_whole_when_both_are_finished() -> None:
    """The first choice's end is not the stream's: cut before the second's, it is cut."""

    def last(index: int) -> bytes:
        choice = {"index": index, "delta": {}, "finish_reason": "stop"}
        return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"

    done, scene, _ = await _stream(FIRST, last(0), n=2)
    assert b"[DONE]" not in done.sent
    assert scene.count("upstream_requests", "p0", "m-up", "cut") == 1
    done, _, _ = await _stream(FIRST, last(0), last(1), n=2)
    assert done.sent.endswith(DONE)
    done, _, _ = await _stream(FIRST, last(0), DONE, n=2)  # the upstream says that it is whole
    assert done.sent.endswith(DONE)


async def test_an_error_event_without_its_blank_line_is_still_the_last_one() -> None:
    """Behind a finish reason too; no [DONE] follows, and it is no success."""
    error = b'data: {"error":{"message":"overloaded"}}'
    done, scene, _ = await _stream(FIRST, LAST, error)
    assert done.sent == FIRST + LAST + error + b"\n\n"
    assert scene.count("upstream_requests", "p0", "m-up", "ok") == 0
    alone, _, _ = await _stream(b'data: {"error":{"message":"slow","code":429}}')
    assert alone.status == 429


async def test_all_of_a_stream_is_counted_before_its_last_event_leaves() -> None:
    """A client that has seen [DONE] finds tokens and outcome, although the upstream dawdles."""
    gate = asyncio.Event()
    up = FakeUpstream(FakeAnswer(pieces=[FIRST, LAST + USAGE_EVENT + DONE, gate]))
    scene = Scene({"m": [up]})
    exchange = FakeExchange(body=chat(stream=True))
    task = asyncio.create_task(scene.run(exchange))
    while not exchange.ended:
        await asyncio.sleep(0)
    assert scene.count("tokens", "p0", "m-up", "output") == 2
    assert scene.count("upstream_requests", "p0", "m-up", "ok") == 1
    gate.set()
    await task
    assert scene.count("tokens", "p0", "m-up", "output") == 2
    assert scene.count("upstream_requests", "p0", "m-up", "ok") == 1


async def test_comments_of_a_provider_are_no_part_of_an_answer() -> None:
    """A failed attempt that only sent comments has used nothing."""
    dead = FakeUpstream(FakeAnswer(pieces=[b": processing\n\n", CUT]))
    good = FakeUpstream(FakeAnswer(pieces=[FIRST, LAST, DONE]))
    scene = Scene({"m": [dead, good]}, retries=1)
    done = await scene.run(FakeExchange(body=chat(stream=True)))
    assert done.sent.endswith(FIRST + LAST + DONE)
    assert scene.count("usage_source", "partial") == 0
    assert scene.count("usage_source", "none") == 1


async def test_an_absurd_count_of_tokens_is_taken_for_none() -> None:
    """What a provider claims cannot poison the sums."""
    event = b'data: {"choices":[],"usage":{"prompt_tokens":1' + b"0" * 300 + b"}}\n\n"
    done, scene, _ = await _stream(FIRST, LAST, event, DONE)
    assert done.sent.endswith(DONE)
    assert scene.count("usage_source", "provider") == 0
    assert scene.count("tokens", "p0", "m-up", "input") < 100


async def test_a_stream_that_begins_with_no_json_is_tried_elsewhere() -> None:
    """A page of a proxy in front of the provider is no answer; the client has seen nothing."""
    page = FakeUpstream(FakeAnswer(pieces=[b"data: <html>\n\n", CUT]))
    good = FakeUpstream(FakeAnswer(pieces=[FIRST, LAST, DONE]))
    done = await Scene({"m": [page, good]}, retries=1).run(FakeExchange(body=chat(stream=True)))
    assert done.sent == FIRST + LAST + DONE
    alone = Scene({"m": [FakeUpstream(FakeAnswer(pieces=[b"data: <html>\n\n"]))]}, retries=0)
    refused = await alone.run(FakeExchange(body=chat(stream=True)))
    assert refused.status == 502
    assert refused.json["error"]["code"] == "upstream_error"
    assert alone.count("upstream_requests", "p0", "m-up", "protocol") == 1


async def test_half_an_event_at_the_end_of_the_body_is_left_out() -> None:
    """The client's SDK would fail at it and never see the error event behind."""
    done, _, _ = await _stream(FIRST, b'data: {"choices":[{"del')
    error = done.sent.removeprefix(FIRST)
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "upstream_error"
    whole, _, _ = await _stream(FIRST, LAST, b'data: {"choices":[],"usa')
    assert whole.sent == FIRST + LAST + DONE


async def test_an_event_over_the_cap_ends_the_stream_in_an_error_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What came before it in the same packet reaches the client; more is never held."""
    defaults = {"max_event_bytes": 1000, "choices": 1}
    monkeypatch.setattr(CompletionStream.__init__, "__kwdefaults__", defaults)
    done, _, _ = await _stream(FIRST, _event("two") + b"data: " + b"x" * 2000, LAST, DONE)
    assert done.sent.startswith(FIRST + _event("two"))
    error = done.sent.removeprefix(FIRST + _event("two"))
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "upstream_error"
    assert done.ended


@pytest.mark.parametrize("error", [b'{"code":400,"message":"\xff"}', b'{"code":"\xc3"}'])
async def test_a_first_error_that_is_no_text_is_a_failure_like_any_other(error: bytes) -> None:
    """It neither breaks the gateway nor passes for an answer."""
    up = FakeUpstream(FakeAnswer(pieces=[b'data: {"error":' + error + b"}\n\n"]))
    done = await Scene({"m": [up]}, retries=0).run(FakeExchange(body=chat(stream=True)))
    assert done.status == 502
    assert done.json["error"]["code"] == "upstream_error"


async def test_a_translated_stream_that_breaks_ends_in_an_error_event_of_the_caller() -> None:
    """Whatever cannot be read: one error event in the caller's dialect, and nothing behind it."""
    up = FakeUpstream(FakeAnswer(pieces=[FIRST, b'data: {"x":\n\n', LAST, DONE]))
    exchange = FakeExchange(
        path="/v1/messages",
        body={"model": "m", "max_tokens": 9, "stream": True, "messages": [
            {"role": "user", "content": "hi"}]},
        headers={"anthropic-version": "2023-06-01"},
    )  # fmt: skip
    done = await Scene({"m": [up]}, retries=0).run(exchange)
    assert b'"text":"yo"' in done.sent
    *_, last = done.sent.strip(b"\n").split(b"\n\n")
    assert last.startswith(b"event: error\n")
    assert b"message_stop" not in done.sent
    assert done.ended
