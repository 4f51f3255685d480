"""The fuzzer of dialects finds nothing in a short run, and finds what is broken."""

from __future__ import annotations

import pytest
from bench.fuzz_breaker import Breaker
from bench.fuzz_corpus import answers, requests, streams
from bench.fuzz_dialects import Fuzz, decoded, main

from tidegate.dialects import neutral as n
from tidegate.dialects.event_decoder import EventDecoder
from tidegate.dialects.wires import BACKS, WIRES


def _findings(count: int, seed: int) -> dict[str, int]:
    fuzz = Fuzz(seed)
    for _ in range(count):
        fuzz.one()
    return dict(fuzz.findings)


def test_a_short_run_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A new finding becomes a test of its own, beside the mended code."""
    assert main(["--count", "3000", "--seed", "3"]) == 0
    assert "findings 0" in capsys.readouterr().out


def test_the_same_seed_breaks_things_in_the_same_way() -> None:
    """A finding can be looked at again."""
    first, second = Breaker(9), Breaker(9)
    for back, events in streams()[:20]:
        assert first.write(back, first.events(events, events)) == second.write(
            back, second.events(events, events)
        )


def test_what_it_starts_from_is_whole() -> None:
    """Unbroken requests, answers and streams of every dialect are read without a complaint."""
    for front, body in requests():
        WIRES[front].decode_request(body)
    assert {front for front, _ in requests()} == set(WIRES)
    for back, body in answers():
        BACKS[back].decode_answer(body)
    breaker = Breaker(1)
    for back, events in streams():
        found, finished = decoded(back, [breaker.write(back, events)], 1, 1 << 20)
        assert finished
        assert not any(isinstance(event, n.StreamError) for event in found)
    assert {back for back, _ in streams()} == set(BACKS)


def test_a_stream_that_looks_whole_and_is_not_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that forgets to say that the end is missing does not get through."""

    def end(self: EventDecoder[object]) -> list[n.Event]:
        self.done = True
        return []

    monkeypatch.setattr(EventDecoder, "end", end)
    assert any("neither finished nor failed" in rule for rule in _findings(300, 4))


def test_an_exception_that_nobody_declared_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a reader raises beside `BadRequest`."""

    def decode_request(body: bytes) -> n.NeutralRequest:
        raise KeyError("type")

    monkeypatch.setattr(WIRES["anthropic"], "decode_request", decode_request)
    assert any("KeyError" in rule for rule in _findings(100, 4))
