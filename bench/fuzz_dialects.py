"""Throw broken JSON and broken streams at every dialect: `make fuzz ARGS="dialects --count N"`.

Each input is a request, a whole answer or a stream of one provider, broken by a seeded chance,
and goes from its reader through every writer. Nothing is sent anywhere.

What counts as a failure:

- an exception that is not the one the reader or writer declares;
- a stream that means something else when it is cut in other places;
- events out of order: anything before the start or behind an error, a piece of a choice that has
  ended, a piece of a call that never began;
- what a writer wrote that is no JSON, that our own reader of that dialect refuses, or (every
  16th) that the SDK's types refuse;
- a stream that did not end well and looks whole to the caller;
- an input that takes over half a second of CPU, an output out of all proportion, or memory that
  grows.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable

import msgspec
from tests.dialects.hardships import scanner_of

from bench.cpu import resident_bytes
from bench.fuzz_breaker import Breaker
from bench.fuzz_corpus import answers, errors, requests, streams
from bench.fuzz_sdks import refused_by_sdk, refused_event_by_sdk
from tidegate.dialects import neutral as n
from tidegate.dialects.passing import Scanner, StreamBroken
from tidegate.dialects.sse_reader import SseReader
from tidegate.dialects.translate import CustomCalls
from tidegate.dialects.wire import AnswerContext, Quirks, UnreadableAnswer
from tidegate.dialects.wires import BACKS, WIRES
from tidegate.errors import BadRequest

SLOW_S = 0.5
CAP_BYTES = 64 * 1024
MOST_BYTES = 512 * 1024
WARM_UP = 2000
MAX_GROWTH_BYTES = 24 * 1024 * 1024
SDK_EVERY = 16
CONTEXT = AnswerContext(id="abc", created_s=1_700_000_000, model="m")
QUIRKS = (
    Quirks(),
    Quirks(thinking="budget", cache_marker_field="cache_control", system_turns=True),
    Quirks(
        thinking="none",
        unsupported=frozenset({"tools", "image", "response_format"}),
        reasoning_field="reasoning_content",
        max_output_tokens=100,
        stream_usage=False,
    ),
)
#: JSON that is passed on as it is; and instructions alone, which a front of ours refuses.
_NOT_LOOKED_INTO = re.compile(r"tools\[\]\.format|no instruction|logprobs")
#: A reason that is no word is read or not, as reading goes on in one packet or ends with it.
_SENSELESS_FINISH = re.compile(rb'"finish_reason"\s*:\s*[^"n\s]')
_LINE_ENDS = re.compile(rb"[\r\n]+")
_decode_json = msgspec.json.Decoder(msgspec.Raw).decode


class Wrong(Exception):
    """A rule is broken; the message says which."""


def require(holds: bool, rule: str) -> None:
    """Raise `Wrong` unless a rule holds."""
    if not holds:
        raise Wrong(rule)


def check_json(text: bytes, who: str) -> None:
    """What *who* wrote is one JSON text in UTF-8."""
    try:
        str(text, "utf-8")
        _decode_json(text)
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Wrong(f"{who} wrote no JSON: {type(error).__name__}") from error


class Fuzz:
    """A run and its findings."""

    def __init__(self, seed: int) -> None:
        self.breaker = Breaker(seed)
        self.requests, self.answers, self.streams = requests(), answers(), streams()
        self.errors = errors()
        self.findings: Counter[str] = Counter()
        self.examples: dict[str, bytes] = {}
        self.outcomes: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.number = 0

    def one(self) -> None:
        """Break one input and follow it through every writer."""
        self.number += 1
        kind: Callable[[], tuple[str, bytes, Callable[[], None]]]
        kind = (self._request, self._answer, self._stream, self._stream)[self.number % 4]
        where, data, run = kind()
        started = time.thread_time()
        try:
            run()
        except Wrong as wrong:
            self.found(f"{where}: {wrong}", data)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{os.path.basename(last.filename)}:{last.lineno}"
            self.found(f"{where}: raised {type(error).__name__} at {place}: {error}"[:200], data)
        spent = time.thread_time() - started
        self.slowest_s = max(self.slowest_s, spent)
        if spent > SLOW_S:
            self.found(f"{where}: slow", data)

    def found(self, what: str, data: bytes) -> None:
        """Count a finding and keep its shortest input."""
        self.findings[what] += 1
        if len(data) < len(self.examples.get(what, data + b"+")):
            self.examples[what] = data

    # --- requests ---

    def _request(self) -> tuple[str, bytes, Callable[[], None]]:
        breaker = self.breaker
        front, body = breaker.chance.choice(self.requests)
        data = breaker.json_text(body) if breaker.chance.random() < 0.85 else breaker.raw(body)
        return f"request {front}", data, lambda: self._read_request(front, data)

    def _read_request(self, front: str, data: bytes) -> None:
        try:
            request = WIRES[front].decode_request(data)
        except BadRequest:
            self.outcomes["request refused"] += 1
            return
        self.outcomes["request read"] += 1
        quirks = self.breaker.chance.choice(QUIRKS)
        for name, back in BACKS.items():
            try:
                body, losses = back.encode_request(request, "target", quirks)
            except BadRequest:
                self.outcomes["request not for this back"] += 1
                continue
            check_json(body, f"{name}'s request writer")
            require(len(body) < 40 * len(data) + 20_000, f"{name} wrote far more than was read")
            require(all(loss.feature for loss in losses), f"{name} named a loss without a field")
            wire = WIRES.get(name)
            if wire is not None:
                try:
                    wire.decode_request(body)
                except BadRequest as error:
                    if _NOT_LOOKED_INTO.search(str(error)):
                        continue
                    raise Wrong(f"{name} cannot read what it wrote: {error}") from error

    # --- whole answers ---

    def _answer(self) -> tuple[str, bytes, Callable[[], None]]:
        breaker = self.breaker
        back, body = breaker.chance.choice(self.answers)
        data = breaker.json_text(body) if breaker.chance.random() < 0.85 else breaker.raw(body)
        return f"answer {back}", data, lambda: self._read_answer(back, data)

    def _read_answer(self, back: str, data: bytes) -> None:
        error = BACKS[back].decode_error(self.breaker.chance.choice((400, 429, 500)), data)
        require(400 <= error.status < 600, f"an error has the status {error.status}")
        msgspec.json.encode(error)
        try:
            BACKS[back].decode_answer(data)
        except UnreadableAnswer:
            self.outcomes["answer unreadable"] += 1
            return
        self.outcomes["answer read"] += 1
        for name, wire in WIRES.items():
            answer = BACKS[back].decode_answer(data)  # a writer may change what it is given
            try:
                body, _ = wire.encode_answer(answer, CONTEXT)
            except UnreadableAnswer:
                self.outcomes["answer not for this front"] += 1
                continue
            check_json(body, f"{name}'s answer writer")
            require(len(body) < 40 * len(data) + 20_000, f"{name} wrote far more than was read")
            try:
                wire.decode_answer(body)
            except UnreadableAnswer as unreadable:
                raise Wrong(f"{name} cannot read what it wrote: {unreadable}") from unreadable
            if self.number % SDK_EVERY == 1 and name != back:  # its own are passed on as they are
                refused = refused_by_sdk(name, body)
                require(not refused, f"{name}'s SDK refuses an answer: {refused}")

    # --- streams ---

    def _stream(self) -> tuple[str, bytes, Callable[[], None]]:
        breaker = self.breaker
        back, events = breaker.chance.choice(self.streams)
        extra = [error for of, error in self.errors if of == back]
        extra += [breaker.chance.choice(breaker.chance.choice(self.streams)[1])]
        if back == "bedrock":
            extra = [event for event in extra if isinstance(event[0], dict)]
        data = breaker.write(back, breaker.events(events, extra))[:MOST_BYTES]
        if breaker.chance.random() < 0.25:
            data = breaker.raw(data)
        return f"stream {back}", data, lambda: self._read_stream(back, data)

    def _read_stream(self, back: str, data: bytes) -> None:
        breaker = self.breaker
        choices = breaker.chance.choice((1, 1, 1, 2))
        cap = CAP_BYTES if breaker.chance.random() < 0.9 else breaker.chance.randint(10, 2000)
        pieces = breaker.pieces(data)
        events, finished = decoded(back, [data], choices, cap)
        check_order(events)
        again, finished_again = decoded(back, pieces, choices, cap)
        require(again == events, "cut in other places it means something else")
        require(finished == finished_again, "cut in other places it ends otherwise")
        failed = isinstance(events[-1], n.StreamError) if events else True
        require(finished or failed, "it is neither finished nor failed")
        self.outcomes["stream failed" if failed else "stream whole"] += 1
        for front in WIRES:
            self._write_stream(front, back, data, choices, cap, failed)
        if back in WIRES and not _SENSELESS_FINISH.search(data):
            check_passing(back, data, pieces, choices)

    def _write_stream(
        self, front: str, back: str, data: bytes, choices: int, cap: int, failed: bool
    ) -> None:
        encoder = WIRES[front].stream_encoder(CONTEXT)
        events, _ = decoded(back, [data], choices, cap)  # a writer may change what it is given
        custom = self.breaker.chance.random() < 0.1
        if custom:
            events = CustomCalls(frozenset({"f", "get_weather"})).unwrap(events)
        at = self.breaker.chance.randrange(len(events) + 1)
        written = encoder.feed(events[:at]) + encoder.feed(events[at:]) + encoder.end()
        require(len(written) < 60 * len(data) + 60_000, f"{front} wrote far more than was read")
        require(encoder.failed or not failed, f"{front} hides that the stream failed")
        if encoder.failed and all(isinstance(e, (n.Start, n.StreamError)) for e in events):
            self.outcomes["stream failed before it began"] += 1
        reader = SseReader(1 << 26)
        wire_events = reader.feed(written) + reader.end()
        for _, payload in wire_events:
            if payload != b"[DONE]":
                check_json(payload, f"{front}'s stream writer")
        told = {event.choice for event in events if isinstance(event, n.Finish)}
        read_back, finished = decoded(front, [written], max(len(told), 1), 1 << 26)
        check_order(read_back)
        last = read_back[-1] if read_back else None
        if encoder.failed:
            require(isinstance(last, n.StreamError), f"{front} does not end a failed stream so")
            require(not getattr(last, "broken", True), f"{front} cannot read its own error event")
        else:
            problem = f": {last.error.message}" if isinstance(last, n.StreamError) else ""
            require(finished and not problem, f"{front} cannot read its own stream{problem}")
        # The SDK has no type for pieces of free-text calls.
        if self.number % SDK_EVERY in (2, 3) and front != back and not custom:
            for _, payload in wire_events:
                refused = refused_event_by_sdk(front, payload)
                refused = "" if _NOT_LOOKED_INTO.search(refused) else refused
                require(not refused, f"{front}'s SDK refuses an event: {refused}")


def decoded(back: str, pieces: list[bytes], choices: int, cap: int) -> tuple[list[n.Event], bool]:
    """Read a stream; return its events and whether it had finished."""
    decoder = BACKS[back].stream_decoder(choices=choices, max_event_bytes=cap)
    events: list[n.Event] = []
    for piece in pieces:
        events += decoder.feed(piece)
    events += decoder.end()
    require(decoder.done, "a stream that has ended is not done")
    require(decoder.feed(b"data: {}\n\n") + decoder.end() == [], "it goes on behind its end")
    return events, decoder.finished


def check_order(events: list[n.Event]) -> None:
    """What `neutral` says of the order of events."""
    begun: set[tuple[int, int]] = set()
    finished: set[int] = set()
    for at, event in enumerate(events):
        if isinstance(event, n.StreamError):
            require(at == len(events) - 1, "something follows an error")
            continue
        require(isinstance(event, n.Start) == (at == 0), "the start is not first, or not alone")
        if isinstance(event, (n.Start, n.UsageEvent)):
            continue
        require(event.choice not in finished, f"{type(event).__name__} behind the finish")
        if isinstance(event, n.ToolStart):
            earlier = {call for choice, call in begun if choice == event.choice}
            require(event.call == len(earlier), "calls are not numbered in order")
            begun.add((event.choice, event.call))
        elif isinstance(event, n.ToolDelta):
            require((event.choice, event.call) in begun, "a piece of a call that never began")
        elif isinstance(event, n.Finish):
            finished.add(event.choice)


def passed(scanner: Scanner, pieces: list[bytes]) -> tuple[bytes, str]:
    """Return what the caller gets, and how it ended."""
    out = b""
    broken = ""
    try:
        for piece in pieces:
            out += scanner.feed(piece)
        if not scanner.done and scanner.error is None:
            out += scanner.end()
    except StreamBroken as error:
        out += error.whole
        broken = str(error)
    error = scanner.error
    told = error if isinstance(error, bytes) or error is None else msgspec.json.encode(error)
    end = f"{scanner.started} {scanner.finished} {scanner.done} {told!r} {scanner.usage} {broken}"
    return out, end


def check_passing(back: str, data: bytes, pieces: list[bytes], choices: int) -> None:
    """A stream that is passed on is the same wherever it is cut, and never made up."""
    whole, split = scanner_of(back, choices), scanner_of(back, choices)
    out, end = passed(whole, [data])
    out_again, end_again = passed(split, pieces)
    require(
        end == end_again, f"passed on, it ends in another way: {end[-150:]} / {end_again[-150:]}"
    )
    last, last_again = whole.terminator(), split.terminator()
    # How many blank lines there are says nothing; an event may have gone with those behind it.
    require(
        _LINE_ENDS.split(out + last) == _LINE_ENDS.split(out_again + last_again),
        "cut in other places something else is passed on",
    )
    sent = (out + (b"" if back == "openai" else last)).replace(b"\xef\xbb\xbf", b"")
    given = data.replace(b"\xef\xbb\xbf", b"").rstrip(b"\r\n")
    require(sent.rstrip(b"\r\n") in given or back == "openai", "what is passed on was never sent")


def run(count: int, seconds: float, seed: int) -> int:
    """Run *count* inputs, or for some time; print figures; return the number of findings."""
    fuzz = Fuzz(seed)
    started = time.monotonic()
    after_warm_up = 0
    while fuzz.number < count and (not seconds or time.monotonic() - started < seconds):
        fuzz.one()
        if fuzz.number == min(WARM_UP, count // 2):
            gc.collect()
            after_warm_up = resident_bytes(os.getpid())
        if fuzz.number % 10_000 == 0:
            mib = resident_bytes(os.getpid()) / 2**20
            spent_s = time.monotonic() - started
            print(f"{fuzz.number} inputs, {spent_s:.0f} s, {mib:.0f} MiB", flush=True)
    gc.collect()
    growth = resident_bytes(os.getpid()) - after_warm_up
    spent_s = time.monotonic() - started
    each_us = spent_s / max(fuzz.number, 1) * 1e6
    print(f"inputs {fuzz.number}, seed {seed}, {spent_s:.0f} s, {each_us:.0f} µs each")
    print("outcomes", dict(sorted(fuzz.outcomes.items())))
    print(f"slowest input {fuzz.slowest_s * 1000:.0f} ms of CPU")
    print(f"memory growth after warm-up {growth / 2**20:.1f} MiB")
    if growth > MAX_GROWTH_BYTES:
        fuzz.found("memory grew", b"")
    for what, times in fuzz.findings.most_common(40):
        print(f"FOUND {times} x {what}: {fuzz.examples[what][:1500]!r}")
    print("findings", sum(fuzz.findings.values()))
    return sum(fuzz.findings.values())


def main(arguments: list[str]) -> int:
    """Read the arguments, run, and return 1 when anything was found."""
    options = argparse.ArgumentParser(prog="fuzz dialects", description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=20_000, help="inputs (default 20,000)")
    options.add_argument("--seconds", type=float, default=0.0, help="stop after this time")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args(arguments)
    return int(run(chosen.count, chosen.seconds, chosen.seed) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
