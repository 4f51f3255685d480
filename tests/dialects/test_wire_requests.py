"""Requests across dialects: errors that name the field, and what each API insists on."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.dialects.anthropic.prompt_write import MAX_CACHE_MARKERS
from tidegate.dialects.anthropic.request_read import decode_request as read_messages
from tidegate.dialects.fidelity import fidelity_header
from tidegate.dialects.neutral import CacheMarker, Message, NeutralRequest, Text
from tidegate.dialects.wire import Quirks, Wire
from tidegate.dialects.wires import BACKS, WIRES
from tidegate.errors import BadRequest

CHAT, MESSAGES = WIRES["openai"], WIRES["anthropic"]


def _chat(*messages: object, **fields: object) -> bytes:
    turns = messages or ({"role": "user", "content": "hi"},)
    return json.dumps({"model": "m", "messages": turns, **fields}).encode()


def _messages(*messages: object, **fields: object) -> bytes:
    turns = messages or ({"role": "user", "content": "hi"},)
    return json.dumps({"model": "m", "max_tokens": 100, "messages": turns, **fields}).encode()


def _to_messages(body: bytes, **quirks: object) -> tuple[dict, bytes]:
    written, losses = MESSAGES.encode_request(
        CHAT.decode_request(body),
        "t",
        Quirks(**quirks),  # type: ignore[arg-type]
    )
    return json.loads(written), fidelity_header(losses, CHAT.fields)


def _to_chat(body: bytes, **quirks: object) -> tuple[dict, bytes]:
    written, losses = CHAT.encode_request(
        MESSAGES.decode_request(body),
        "t",
        Quirks(**quirks),  # type: ignore[arg-type]
    )
    return json.loads(written), fidelity_header(losses, MESSAGES.fields)


@pytest.mark.parametrize(
    ("wire", "body", "param"),
    [
        (CHAT, b"[]", None),
        (CHAT, b'{"model":"m"}', "messages"),
        (CHAT, _chat({"role": "user", "content": 5}), "messages[0].content"),
        (CHAT, _chat({"role": "judge", "content": "x"}), "messages[0].role"),
        (CHAT, _chat({"role": "tool", "content": "x"}), "messages[0].tool_call_id"),
        (CHAT, _chat(temperature="hot"), "temperature"),
        (CHAT, _chat(tools=[{"type": "function", "function": {}}]), "tools[].function"),
        (CHAT, _chat(tool_choice="sometimes"), "tool_choice"),
        (CHAT, b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', None),
        (CHAT, b'{"a":' * 50_000 + b"1" + b"}" * 50_000, None),
        (MESSAGES, _messages(max_tokens=None), "max_tokens"),
        (MESSAGES, _messages({"role": "user", "content": 5}), "messages[0].content"),
        (MESSAGES, _messages({"role": "tool", "content": "x"}), "messages[0].role"),
        (MESSAGES, _messages(thinking={"type": "hard"}), "thinking.type"),
        (MESSAGES, _messages(tool_choice={"type": "x"}), "tool_choice.type"),
        (MESSAGES, _messages(stop_sequences="END"), "stop_sequences"),
    ],
)
def test_an_unreadable_request_names_the_field_at_fault(
    wire: Wire, body: bytes, param: str | None
) -> None:
    """The caller is told where to look, in its own words."""
    with pytest.raises(BadRequest) as refused:
        wire.decode_request(body)
    assert refused.value.param == param


_FIELDS = [
    *("model", "messages", "max_tokens", "system", "tools", "tool_choice", "stop", "thinking"),
    *("metadata", "response_format", "output_config", "stream_options"),
]


@pytest.mark.parametrize("wire", [CHAT, MESSAGES], ids=["openai", "anthropic"])
@settings(max_examples=300, deadline=None)
@given(
    fields=st.dictionaries(
        st.sampled_from(
            [
                "model",
                "messages",
                "max_tokens",
                "system",
                "tools",
                "tool_choice",
                "stop",
                "thinking",
                "metadata",
                "response_format",
                "output_config",
                "stream_options",
            ]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["role", "content", "type", "text", "name", "input"])
                    | st.text(max_size=4),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        ),
    )
)
def test_a_request_is_read_or_refused(wire: Wire, fields: dict[str, object]) -> None:
    """No body makes a reader fail in any other way than by refusing it."""
    with contextlib.suppress(BadRequest):
        wire.decode_request(json.dumps(fields).encode())


def test_unknown_fields_are_named_at_any_depth() -> None:
    """What we do not know is lost on the way to another dialect, and the caller reads it."""
    body = _chat(
        {"role": "user", "content": [{"type": "text", "text": "hi", "mood": 1}], "x": 1},
        novelty={"a": 1},
        store=False,
        service_tier="auto",
        logit_bias=None,
    )
    written, header = _to_messages(body)
    assert written["messages"] == [{"role": "user", "content": "hi"}]
    assert header == (b"novelty;dropped, messages[].x;dropped, messages[].content[].mood;dropped")


def test_fields_of_a_target_pass_when_it_is_said_to_take_them() -> None:
    """A target's own field goes through under the name the caller gave it."""
    written, header = _to_messages(_chat(novelty={"a": 1.0}), pass_fields=frozenset({"novelty"}))
    assert written["novelty"] == {"a": 1.0}
    assert header == b""


def test_hostile_names_cannot_break_the_header() -> None:
    """Names that a client chose reach the header as plain signs, cut short."""
    _, header = _to_messages(_chat(**{"a\r\nset-cookie: x": 1, "b" * 500: 1}))
    assert b"\r" not in header
    assert b"\n" not in header
    assert len(header) < 200


def test_results_of_parallel_calls_share_one_turn_and_come_first() -> None:
    """The Messages API wants all results of a round in the turn behind it, before other words."""
    calls = [
        {"id": f"c.{k}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for k in (1, 2)
    ]
    written, header = _to_messages(
        _chat(
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c.1", "content": "1"},
            {"role": "tool", "tool_call_id": "c.2", "content": "2"},
            {"role": "user", "content": "and?"},
        )
    )
    assert [turn["role"] for turn in written["messages"]] == ["user", "assistant", "user"]
    assert [block["id"] for block in written["messages"][1]["content"]] == ["c_1", "c_2"]
    assert written["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c_1", "content": "1"},
        {"type": "tool_result", "tool_use_id": "c_2", "content": "2"},
        {"type": "text", "text": "and?"},
    ]
    assert header == b""


def test_a_failed_tool_and_an_image_result_reach_a_chat_target() -> None:
    """The flag becomes a word, the image moves into the next turn; both are named."""
    image = {"type": "image", "source": {"type": "url", "url": "https://x/i.png"}}
    result = [{"type": "text", "text": "no"}, image]
    written, header = _to_chat(
        _messages(
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c",
                        "is_error": True,
                        "content": result,
                    }
                ],
            },
        )
    )
    assert written["messages"][2:] == [
        {"role": "tool", "tool_call_id": "c", "content": "Error: no"},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "https://x/i.png"}}],
        },
    ]
    assert header == (
        b"messages[].content[].content[];approximated, messages[].content[].is_error;approximated"
    )


def test_signed_thinking_comes_back_byte_for_byte() -> None:
    """A chat client that hands `reasoning_details` back hands the proof back unchanged."""
    signature = "Ev/+=\u2028 \\u00e9"
    details = [
        {"type": "reasoning.text", "text": "hm", "signature": signature, "format": "anthropic"},
        {"type": "reasoning.encrypted", "data": "ZW5j+/=", "format": "anthropic-claude-v1"},
        {"type": "reasoning.text", "text": "x", "signature": "s", "format": "google-gemini-v1"},
    ]
    written, header = _to_messages(
        _chat(
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "ok", "reasoning_details": details},
            {"role": "user", "content": "more"},
        )
    )
    assert written["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": signature},
        {"type": "redacted_thinking", "data": "ZW5j+/="},
        {"type": "text", "text": "ok"},
    ]
    assert header == b"messages[].reasoning_details;dropped"


@pytest.mark.parametrize(
    ("version", "sampling", "lost"),
    [
        ("2023-06-01", {"temperature": 0.5, "top_p": 0.9}, b""),
        ("2026-10-21", {}, b"temperature;dropped, top_p;dropped"),
    ],
)
def test_sampling_goes_where_the_version_has_it(version, sampling, lost) -> None:
    """The newer version refuses sampling parameters, even at their defaults."""
    written, header = _to_messages(_chat(temperature=0.5, top_p=0.9), version=version)
    assert {k: v for k, v in written.items() if k in ("temperature", "top_p")} == sampling
    assert header == lost
    _, header = _to_messages(_chat(temperature=1, top_p=1), version=version)
    assert header == b""


@pytest.mark.parametrize(
    ("effort", "thinking", "expected"),
    [
        ("high", "effort", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ("none", "effort", {"thinking": {"type": "disabled"}}),
        ("medium", "budget", {"thinking": {"type": "enabled", "budget_tokens": 8192}}),
        ("low", "none", {}),
    ],
)
def test_effort_becomes_what_the_target_takes(effort, thinking, expected) -> None:
    """Levels stay levels where there are levels, and become budgets where there are not."""
    written, _ = _to_messages(_chat(reasoning_effort=effort, max_tokens=20000), thinking=thinking)
    found = {k: v for k, v in written.items() if k in ("thinking", "output_config")}
    assert found == expected


def test_thinking_always_leaves_room_for_the_answer() -> None:
    """A budget stays below the limit of the output; ours is raised, the caller's is not."""
    written, _ = _to_messages(_chat(reasoning_effort="max", max_tokens=4000), thinking="budget")
    assert written["max_tokens"] == 4000
    assert written["thinking"]["budget_tokens"] < 4000
    written, _ = _to_messages(_chat(reasoning_effort="high"), thinking="budget")
    assert written["max_tokens"] > written["thinking"]["budget_tokens"]
    written, header = _to_messages(
        _chat(reasoning_effort="high", max_tokens=500), thinking="budget"
    )
    assert "thinking" not in written
    assert header == b"reasoning_effort;dropped"


def test_no_more_cache_markers_than_the_api_takes() -> None:
    """Four at most: the first, and the three that reach furthest."""
    texts = [Text(str(number), CacheMarker()) for number in range(9)]
    request = NeutralRequest("x", "m", [Message("user", list(texts))])
    body, losses = MESSAGES.encode_request(request, "t", Quirks())
    blocks = json.loads(body)["messages"][0]["content"]
    marked = [block["text"] for block in blocks if "cache_control" in block]
    assert marked == ["0", "6", "7", "8"]
    assert len(marked) == MAX_CACHE_MARKERS
    assert [(loss.feature, loss.kind) for loss in losses] == [("cache_marker", "approximated")]


def test_schemas_and_arguments_keep_their_bytes() -> None:
    """Key order, spacing and numbers are the caller's: prompt caches depend on them."""
    schema = b'{"type":"object", "properties":{"z":{"const":1.50},"a":{"const":1e3}}}'
    body = (
        b'{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant",'
        b'"tool_calls":[{"id":"c","type":"function","function":{"name":"f",'
        b'"arguments":"{\\"z\\": 1.50,  \\"a\\":1e3}"}}]}],"tools":[{"type":"function",'
        b'"function":{"name":"f","parameters":' + schema + b"}}]}"
    )
    written, _ = MESSAGES.encode_request(CHAT.decode_request(body), "t", Quirks())
    assert schema in written
    assert b'"input":{"z": 1.50,  "a":1e3}' in written
    back, _ = CHAT.encode_request(MESSAGES.decode_request(written), "t", Quirks())
    assert schema in back
    assert b'"arguments":"{\\"z\\": 1.50,  \\"a\\":1e3}"' in back


def test_a_turn_of_which_nothing_is_left_is_refused() -> None:
    """Leaving the whole question out would be another question."""
    sound = {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}
    with pytest.raises(BadRequest) as refused:
        _to_messages(_chat({"role": "user", "content": [sound]}))
    assert refused.value.param == "messages[0]"


def test_counting_needs_no_limit() -> None:
    """`count_tokens` has the fields of a request without a limit of the output."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    assert read_messages(body, counts_only=True).max_output_tokens is None


# --- found by `make fuzz ARGS=dialects` ---------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "body", "param"),
    [
        (MESSAGES, _messages({"role": "user", "content": [{}]}), "messages[0]"),
        (
            MESSAGES,
            _messages(
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"x": 1}]}],
                }
            ),
            "messages[0]",
        ),
        (CHAT, _chat(tools=[{"type": "function", "function": {"name": ""}}]), "tools"),
        (CHAT, _chat(functions=[{"name": ""}]), "tools"),
        (MESSAGES, _messages(tools=[{"name": "", "input_schema": {}}]), "tools"),
        (
            WIRES["responses"],
            b'{"model":"m","input":[{"role":"user","content":[{"text":"hi"}]}]}',
            "messages[0]",
        ),
    ],
)
def test_what_no_target_could_take_is_refused(wire: Wire, body: bytes, param: str) -> None:
    """Parts without a type and tools without a name, at any depth."""
    with pytest.raises(BadRequest) as refused:
        wire.decode_request(body)
    assert refused.value.param == param


@pytest.mark.parametrize("name", [name for name in BACKS if name != "openai"])
def test_instructions_alone_are_no_request(name: str) -> None:
    """There is no turn for the model to answer; Chat alone takes that."""
    request = CHAT.decode_request(_chat({"role": "system", "content": "s"}))
    with pytest.raises(BadRequest, match="no turn"):
        BACKS[name].encode_request(request, "t", Quirks())


@pytest.mark.parametrize("name", list(BACKS))
def test_an_address_that_is_none_is_the_providers_to_refuse(name: str) -> None:
    """Reading it to guess its media type raises nothing."""
    part = {"type": "image_url", "image_url": {"url": "https://x]test/i.png"}}
    text = {"type": "text", "text": "?"}
    request = CHAT.decode_request(_chat({"role": "user", "content": [text, part]}))
    with contextlib.suppress(BadRequest):
        BACKS[name].encode_request(request, "t", Quirks())
