"""Responses requests: how items become turns, and what a front refuses or names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidegate.dialects import neutral as n
from tidegate.dialects.fidelity import fidelity_header
from tidegate.dialects.responses.wire import RESPONSES_WIRE as WIRE
from tidegate.dialects.wire import Quirks
from tidegate.dialects.wires import WIRES
from tidegate.errors import BadRequest

HI: dict[str, Any] = {"role": "user", "content": "hi"}


def _body(*items: object, **fields: object) -> bytes:
    return json.dumps({"model": "m", "input": items or [HI], **fields}).encode()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"[]", None),
        (b'{"model":"m"}', "input"),
        (b'{"input":"hi"}', "model"),
        (_body(5), "input[0]"),
        (_body({"role": "judge", "content": "x"}), "input[0].role"),
        (_body({"role": "user"}), "input[0].content"),
        (_body({"type": "function_call", "name": "f"}), "input[]"),
        (_body({"type": "item_reference", "id": "msg_1"}), "input[0]"),
        (_body({"id": "msg_1"}), "input[0]"),
        (_body({}), "input[0]"),
        (_body({"role": "user", "content": [{"type": "input_image"}]}), "input[0].content[0]"),
        (_body({"role": "developer", "content": "only this"}), "input"),
        (_body(previous_response_id="resp_1"), "previous_response_id"),
        (_body(background=True), "background"),
        (_body(conversation="conv_1"), "conversation"),
        (_body(prompt={"id": "p"}), "prompt"),
        (_body(text={"format": {"type": "poem"}}), "text.format.type"),
        (_body(tool_choice="sometimes"), "tool_choice"),
        (_body(temperature="hot"), "temperature"),
    ],
)
def test_an_unreadable_request_names_the_field_at_fault(body: bytes, param: str | None) -> None:
    """The caller is told where to look, in its own words."""
    with pytest.raises(BadRequest) as refused:
        WIRE.decode_request(body)
    assert refused.value.param == param


def test_items_become_turns() -> None:
    """Reasoning, text and calls of one round are one turn; so are the results that answer them."""
    request = WIRE.decode_request(
        _body(
            {"role": "developer", "content": "be brief"},
            HI,
            {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "enc"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "look"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "2", "name": "g", "input": "free"},
            {"type": "function_call_output", "call_id": "1", "output": "one"},
            {
                "type": "custom_tool_call_output",
                "call_id": "2",
                "output": [{"type": "input_text", "text": "two"}],
            },
            {"role": "developer", "content": "aside"},
            HI,
            instructions="be kind",
        )
    )
    assert [text.text for text in request.system] == ["be kind", "be brief"]
    assert request.messages == [
        n.Message("user", [n.Text("hi")]),
        n.Message(
            "assistant",
            [
                n.Thinking(redacted="enc", origin="responses"),
                n.Text("look"),
                n.ToolUse("1", "f", "{}"),
                n.ToolUse("2", "g", "free", custom=True),
            ],
        ),
        n.Message("user", [n.ToolResult("1", [n.Text("one")]), n.ToolResult("2", [n.Text("two")])]),
        n.Message("system", [n.Text("aside")]),
        n.Message("user", [n.Text("hi")]),
    ]


def test_what_a_target_cannot_have_is_named_in_the_caller_s_words() -> None:
    """Built-in tools, unknown fields and hints stand in the report under their own paths."""
    request = WIRE.decode_request(
        _body(
            {"role": "user", "content": "hi", "phase": "commentary"},
            tools=[{"type": "web_search"}],
            include=["file_search_call.results", "reasoning.encrypted_content"],
            text={"verbosity": "low"},
            reasoning={"effort": "high", "summary": "detailed"},
            prompt_cache_key="k",
            truncation="auto",
            service_tier="auto",
            store=True,
        )
    )
    _, losses = WIRES["openai"].encode_request(request, "t", Quirks())
    named = fidelity_header(losses, WIRE.fields).decode()
    for path in (
        "input[].phase",
        "tools[]",
        "include.file_search_call.results",
        "text.verbosity",
        "reasoning.summary",
        "prompt_cache_key",
        "truncation",
    ):
        assert f"{path};dropped" in named
    for silent in ("store", "service_tier", "encrypted"):
        assert silent not in named


def test_nothing_is_kept_for_callers_of_other_dialects() -> None:
    """A provider that keeps responses is told not to; exactness is not its default either."""
    chat = {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "max_tokens": 5,
        "stream": True,
    }
    request = WIRES["openai"].decode_request(json.dumps(chat).encode())
    body, losses = WIRE.encode_request(request, "t", Quirks())
    written = json.loads(body)
    assert written["store"] is False
    assert written["stream"] is True
    assert written["tools"][0]["strict"] is False
    assert written["max_output_tokens"] == 16
    assert [(loss.feature, loss.kind) for loss in losses] == [("max_output_tokens", "approximated")]


def test_foreign_proofs_are_not_sent_to_a_native_provider() -> None:
    """It refuses reasoning that it never gave; its own goes back with its summary."""
    turn = n.Message(
        "assistant",
        [
            n.Thinking("theirs", "sig", origin="anthropic"),
            n.Thinking("shown"),
            n.Thinking(redacted="enc", origin="responses"),
            n.Text("a"),
        ],
    )
    request = n.NeutralRequest("anthropic", "m", [n.Message("user", [n.Text("q")]), turn])
    body, losses = WIRE.encode_request(request, "t", Quirks())
    items = json.loads(body)["input"]
    assert [item["type"] for item in items] == ["message", "reasoning", "message"]
    assert items[1]["encrypted_content"] == "enc"
    assert items[1]["summary"] == [{"type": "summary_text", "text": "shown"}]
    assert [loss.feature for loss in losses] == ["thinking"]
