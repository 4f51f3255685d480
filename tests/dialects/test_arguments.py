"""When a call's arguments are whole, and what asking costs."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.dialects import neutral as n
from tidegate.dialects.arguments import ArgumentPieces
from tidegate.dialects.encode import json_object
from tidegate.dialects.translate import CustomCalls
from tidegate.dialects.wire import AnswerContext
from tidegate.dialects.wires import WIRES

CONTEXT = AnswerContext(id="1", created_s=1, model="m")
_TEXTS = st.text('{}[]"\\ \n:,1aé\u2028', max_size=14) | st.sampled_from(
    ['{"a": "}\\"]{"}', '{"a\\\\": [1, {}]}', "{}", " {} ", '{"a":1} x', "[1]", "tru", '{"x": tru']
)


@settings(max_examples=500, deadline=None)
@given(text=_TEXTS, cuts=st.lists(st.integers(0, 16), max_size=5).map(sorted))
def test_arguments_are_whole_exactly_when_they_are_an_object(text: str, cuts: list[int]) -> None:
    """However they are cut, and asked after every piece: no look is taken at what is known."""
    asked, unasked = ArgumentPieces(), ArgumentPieces()
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        asked.add(text[start:end])
        unasked.add(text[start:end])
        assert asked.is_whole() == (json_object(asked.text()) is not None)
    assert unasked.is_whole() == asked.is_whole()


def _written(front: str, pieces: int, *, custom: bool) -> float:
    """Return the CPU seconds of writing two mixed calls of many small pieces."""
    encoder = WIRES[front].stream_encoder(CONTEXT)
    calls = CustomCalls(frozenset({"f"} if custom else ()))
    events: list[n.Event] = [
        n.Start("x", "m", 1),
        n.ToolStart(0, "c", "f"),
        n.ToolStart(1, "d", "g"),
    ]
    events += [n.ToolDelta(call, '{"input": "') for call in (0, 1)]
    for _ in range(pieces):
        events += [n.ToolDelta(0, "{ x }"), n.ToolDelta(1, "{ y }")]
    events += [n.ToolDelta(call, '"}') for call in (0, 1)]
    started = time.thread_time()
    out = b"".join(
        [encoder.feed(calls.unwrap([event])) for event in [*events, n.Finish("tool_use")]]
    )
    out += encoder.end()
    spent_s = time.thread_time() - started
    assert not encoder.failed
    assert out.count(b"{ x }") >= pieces
    return spent_s


@pytest.mark.parametrize("custom", [False, True], ids=["function", "free text"])
@pytest.mark.parametrize("front", list(WIRES))
def test_long_arguments_cost_as_much_as_they_are_long(front: str, custom: bool) -> None:
    """A model that writes a file into a call does not hold up the worker.

    40,000 pieces take 0.1 s; reading all of them again at each would take over 10 s.
    """
    assert _written(front, 20_000, custom=custom) < 2.0
