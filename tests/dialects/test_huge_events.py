"""Events of 64 MiB in packets of 16 KiB: read once, held once, and one byte more is refused.

Copying what is held at each packet would be 130 GB of copying, a minute of it: the bound on CPU
below is ten times what is needed and far below that.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from tests.dialects.hardships import scanner_of, stream_of
from tests.dialects.stream_oddities import only_error
from tests.fakes.strict.bedrock_converse import event_frame
from tests.fakes.strict.scenarios import REPLIES

from tidegate.dialects import neutral as n
from tidegate.dialects.passing import StreamBroken
from tidegate.dialects.sse import whole_events
from tidegate.dialects.wire import MAX_EVENT_BYTES
from tidegate.dialects.wires import BACKS, WIRES

PACKET_BYTES = 16 * 1024
MOST_CPU_S = 6.0
#: What is held, one copy of it as an event, its payload and its text.
MOST_COPIES = 4.5

_HEAD = {
    "openai": b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"',
    "responses": b'data: {"type":"response.output_text.delta","output_index":0,"delta":"',
    "anthropic": b'data: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"',
    "gemini": b'data: {"candidates":[{"index":0,"content":{"parts":[{"text":"',
    "cohere": b'data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"',
}
_TAIL = {
    "openai": b'"}}]}\n\n',
    "responses": b'"}\n\n',
    "anthropic": b'"}}\n\n',
    "gemini": b'"}]}}]}\n\n',
    "cohere": b'"}}}}\n\n',
}


def _packets(name: str, event_bytes: int) -> Iterator[bytes]:
    """Yield an event of *event_bytes* bytes, its blank line counted, in packets."""
    if name == "bedrock":
        empty = len(event_frame("contentBlockDelta", {"delta": {"text": ""}}))
        event = event_frame("contentBlockDelta", {"delta": {"text": "x" * (event_bytes - empty)}})
        assert len(event) == event_bytes
        for at in range(0, len(event), PACKET_BYTES):
            yield event[at : at + PACKET_BYTES]
        return
    head, tail = _HEAD[name], _TAIL[name]
    left = event_bytes - len(head) - len(tail)
    yield head
    packet = b"x" * PACKET_BYTES
    for _ in range(left // PACKET_BYTES):
        yield packet
    yield b"x" * (left % PACKET_BYTES) + tail


def _cpu_of(feed: Callable[[bytes], object], packets: Iterator[bytes]) -> tuple[float, object]:
    spent_s, last = 0.0, None
    for packet in packets:
        started = time.thread_time()
        last = feed(packet)
        spent_s += time.thread_time() - started
    return spent_s, last


@pytest.mark.parametrize("name", list(BACKS))
def test_an_event_as_large_as_allowed_is_read(name: str) -> None:
    """In time that grows as it does, not with its square; one byte more is an error."""
    decoder = BACKS[name].stream_decoder()
    decoder.feed(stream_of(name, REPLIES["text"])[0])
    spent_s, events = _cpu_of(decoder.feed, _packets(name, MAX_EVENT_BYTES))
    assert isinstance(events, list)
    text = next(event.text for event in events if isinstance(event, n.TextDelta))
    assert len(text) > MAX_EVENT_BYTES - 1000
    assert spent_s < MOST_CPU_S
    found: list[n.Event] = []
    for packet in _packets(name, MAX_EVENT_BYTES + 1):
        found += decoder.feed(packet)
    found += decoder.end()
    assert only_error(found).status == 502


@pytest.mark.parametrize("name", list(WIRES))
def test_an_event_as_large_as_allowed_is_passed_on(name: str) -> None:
    """Byte for byte; one that never ends is given up once it is over the cap."""
    scanner = scanner_of(name)
    first = stream_of(name, REPLIES["text"])[0]
    scanner.feed(first)
    spent_s, out = _cpu_of(scanner.feed, _packets(name, MAX_EVENT_BYTES))
    assert isinstance(out, bytes)
    assert out.endswith(b"".join(_packets(name, MAX_EVENT_BYTES)))
    assert spent_s < MOST_CPU_S
    endless = _packets(name, 2 * MAX_EVENT_BYTES)
    with pytest.raises(StreamBroken, match="too large"):
        _cpu_of(scanner.feed, endless)
    left = sum(len(packet) for packet in endless)
    assert left >= MAX_EVENT_BYTES - PACKET_BYTES, "it was given up as soon as it was over the cap"


@pytest.mark.parametrize("name", ["openai", "bedrock"])
def test_a_huge_event_is_held_a_few_times_at_most(name: str) -> None:
    """Memory is bounded by the cap, whatever comes."""
    size = 8 * 1024 * 1024
    decoder = BACKS[name].stream_decoder(max_event_bytes=size)
    packets = list(_packets(name, size))
    tracemalloc.start()
    try:
        for packet in packets:
            decoder.feed(packet)
        for packet in packets * 3:  # and without an end
            decoder.feed(packet[:-1].replace(b"\n", b""))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < MOST_COPIES * size


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_what_is_copied_of_a_held_event_is_what_came(line_end: bytes) -> None:
    """Of a megabyte in packets of 1 KiB no more than the new bytes are looked at each time."""

    class Counting(bytearray):
        """Counts the bytes that are taken out of it."""

        taken = 0

        def __getitem__(self, place: object) -> object:
            found = super().__getitem__(place)  # type: ignore[index, call-overload]
            Counting.taken += len(found) if isinstance(found, bytearray) else 1
            return found

    held = Counting()
    packet = b"x" * 1024
    for _ in range(1024):
        assert whole_events(held, packet) == b""
    assert Counting.taken < 2 * 1024 * 1024
    whole = whole_events(held, line_end * 2 + b"data: y")
    assert len(whole) == 1024 * 1024 + 2 * len(line_end)
    assert bytes(held) == b"data: y"
