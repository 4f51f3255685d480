"""State of one provider comes back through any caller's dialect, and reaches no other provider."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.dialects import neutral as n
from tidegate.dialects.anthropic.foreign import without_foreign as message_without_foreign
from tidegate.dialects.anthropic.sampling import sampling_of
from tidegate.dialects.anthropic.wire import MESSAGES
from tidegate.dialects.envelope import (
    MAX_SEALED_CHARS,
    Envelope,
    is_sealed,
    is_sealed_base64,
    seal,
    seal_base64,
    unseal,
    unseal_base64,
)
from tidegate.dialects.gemini.foreign import without_foreign as content_without_foreign
from tidegate.dialects.gemini.wire import GENERATE
from tidegate.dialects.openai.wire import CHAT
from tidegate.dialects.responses.wire import RESPONSES_WIRE
from tidegate.dialects.wire import AnswerContext, Quirks, Wire
from tidegate.dialects.wires import BACKS, WIRES

PROOF = "+/+++v9wcm9vZiBvZiB0aG91Z2h0"
QUIRKS = Quirks()
#: Origin → targets that take what it signed.
TAKERS = {
    "anthropic": {"anthropic", "bedrock"},
    "bedrock": {"anthropic", "bedrock"},
    "gemini": {"gemini"},
    "responses": {"responses"},
}

_envelopes = st.builds(
    Envelope,
    kind=st.sampled_from(["signature", "redacted"]),
    value=st.text(),
    origin=st.sampled_from(["", "anthropic", "gemini", "responses", "?"]),
    call_id=st.text(),
)


@given(envelope=_envelopes)
def test_an_envelope_is_opened_as_it_was_sealed(envelope: Envelope) -> None:
    """In fields of text, and in fields of base64 whose alphabet an SDK changes on the way."""
    assert is_sealed(seal(envelope))
    assert unseal(seal(envelope)) == envelope
    sealed = seal_base64(envelope)
    assert is_sealed_base64(sealed)
    assert unseal_base64(sealed) == envelope
    changed = base64.urlsafe_b64encode(base64.b64decode(sealed)).decode().rstrip("=")
    assert unseal_base64(changed) == envelope


@given(tail=st.one_of(st.text(), st.binary().map(lambda raw: base64.b64encode(raw).decode())))
def test_what_only_begins_like_an_envelope_is_broken(tail: str) -> None:
    """Whatever a client wrote there: it is none, and no error."""
    assert unseal("tg1." + tail) is None
    assert unseal_base64("dGcxL" + tail) is None


@pytest.mark.parametrize("content", ["[1]", "{}", '{"kind":"x","value":"v"}', '{"kind":"call"'])
def test_an_envelope_of_something_else_is_broken(content: str) -> None:
    """The form is checked, not only the letters."""
    assert unseal("tg1." + base64.urlsafe_b64encode(content.encode()).decode()) is None
    assert unseal_base64(base64.b64encode(b"tg1." + content.encode()).decode()) is None


def test_an_envelope_has_bounds() -> None:
    """Neither a huge one is opened, nor the state of a call that no provider of such gave."""
    assert unseal(seal(Envelope("redacted", "x" * MAX_SEALED_CHARS))) is None
    assert unseal_base64(seal_base64(Envelope("redacted", "x" * MAX_SEALED_CHARS))) is None
    assert unseal(seal(Envelope("call", "s", "anthropic", "c"))) is None


@given(raw=st.binary(min_size=1))
def test_no_signature_of_a_provider_is_taken_for_an_envelope(raw: bytes) -> None:
    """They are base64 of other bytes, in one alphabet or the other."""
    if raw.startswith(b"tg1."):
        return
    assert not is_sealed(base64.b64encode(raw).decode())
    assert not is_sealed(base64.urlsafe_b64encode(raw).decode())
    assert unseal_base64(base64.b64encode(raw).decode()) is None


# --- through the callers' dialects ------------------------------------------------------------


def _answer(origin: str, kind: str) -> n.NeutralAnswer:
    thought = n.Thinking("Hm, hm.", PROOF, origin=origin)
    call = n.ToolUse("call_1", "look", '{"at":1}')
    if kind == "redacted":
        thought = n.Thinking(redacted=PROOF, origin=origin)
    elif kind == "call":
        thought = n.Thinking("Hm, hm.", origin=origin)
        call.signature = PROOF
    return n.NeutralAnswer("a", "m", [n.Choice([thought, call], "tool_use")])


def _again_chat(answer: Any) -> dict[str, Any]:
    message = answer["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": "call_1", "content": "7"}
    return {"messages": [{"role": "user", "content": "?"}, message, result]}


def _again_responses(answer: Any) -> dict[str, Any]:
    result = {"type": "function_call_output", "call_id": "call_1", "output": "7"}
    return {"input": [{"role": "user", "content": "?"}, *answer["output"], result]}


def _again_messages(answer: Any) -> dict[str, Any]:
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "7"}
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": answer["content"]},
        {"role": "user", "content": [result]},
    ]
    return {"max_tokens": 99, "messages": turns}


def _again_generate(answer: Any) -> dict[str, Any]:
    result = {"functionResponse": {"id": "call_1", "name": "look", "response": {"output": "7"}}}
    asked = {"role": "user", "parts": [{"text": "?"}]}
    turns = [asked, answer["candidates"][0]["content"], {"role": "user", "parts": [result]}]
    return {"contents": turns}


#: Front → its answer as the next request, with a result.
AGAIN: dict[str, Callable[[Any], dict[str, Any]]] = {
    "openai": _again_chat,
    "responses": _again_responses,
    "anthropic": _again_messages,
    "gemini": _again_generate,
}


def _next_request(front: Wire, answer: n.NeutralAnswer) -> bytes:
    context = AnswerContext(id="1", created_s=1, model="m")
    body, losses = front.encode_answer(answer, context)
    assert losses == []
    return json.dumps({"model": "m", **AGAIN[front.name](json.loads(body))}).encode()


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("front", WIRES)
@pytest.mark.parametrize(
    ("origin", "kind"),
    [
        ("anthropic", "signature"), ("anthropic", "redacted"), ("bedrock", "signature"),
        ("gemini", "signature"), ("gemini", "call"), ("responses", "redacted"),
    ],
)  # fmt: skip
def test_state_goes_to_its_origin_alone(front: str, back: str, origin: str, kind: str) -> None:
    """Byte for byte where it came from; anywhere else it is left out, and named."""
    asked = WIRES[front].decode_request(_next_request(WIRES[front], _answer(origin, kind)))
    assert asked.unread == []
    body, losses = BACKS[back].encode_request(asked, "m", QUIRKS)
    features = {loss.feature for loss in losses}
    assert b"tg1." not in body
    assert b'"dGcxL' not in body
    lost = "tool_use.signature" if kind == "call" else "thinking"
    if back in TAKERS[origin]:
        assert body.count(PROOF.encode()) == 1
        assert lost not in features
    else:
        assert PROOF.encode() not in body
        assert lost in features


def test_a_gemini_front_joins_what_a_stream_took_apart() -> None:
    """A signature holds for the whole of a thought, which clients keep in pieces."""
    context = AnswerContext(id="1", created_s=1, model="m", origin="anthropic")
    encoder = GENERATE.stream_encoder(context)
    out = encoder.feed([n.Start("a", "m"), n.ThinkingDelta("Hm, ")])
    out += encoder.feed([n.ThinkingDelta("hm.")])
    out += encoder.feed([n.SignatureDelta(PROOF, origin="anthropic"), n.PartEnd()])
    out += encoder.feed([n.SignatureDelta("", "hidden", origin="anthropic"), n.TextDelta("Yes.")])
    out += encoder.feed([n.Finish("stop")]) + encoder.end()
    assert encoder.losses == []
    events = [json.loads(line[6:]) for line in out.decode().splitlines() if line]
    parts = [p for e in events for p in e["candidates"][0]["content"]["parts"] if p != {"text": ""}]
    turns = [{"role": "model", "parts": parts}, {"role": "user", "parts": [{"text": "And?"}]}]
    asked = GENERATE.decode_request(json.dumps({"contents": turns}).encode())
    assert asked.messages[0].parts == [
        n.Thinking("Hm, hm.", PROOF, origin="anthropic"),
        n.Thinking(redacted="hidden", origin="anthropic"),
        n.Text("Yes."),
    ]


@pytest.mark.parametrize("front", ["anthropic", "gemini", "responses"])
def test_a_broken_envelope_is_named_and_goes_nowhere(front: str) -> None:
    """Cut on its way, or forged: it is no one's state."""
    whole = _next_request(WIRES[front], _answer("elsewhere", "signature"))
    mark = b"dGcxL" if front == "gemini" else b"tg1."
    at = whole.index(mark) + len(mark) + 3
    cut = whole[:at] + whole[whole.index(b'"', at) :]
    asked = WIRES[front].decode_request(cut)
    assert len(asked.unread) == 1
    for back in BACKS.values():
        body, losses = back.encode_request(asked, "m", QUIRKS)
        assert mark not in body
        assert asked.unread[0] in {loss.detail for loss in losses}


def test_unsigned_thinking_is_never_passed_off_as_signed() -> None:
    """A compatible server's reasoning comes back without a proof that Anthropic would refuse."""
    thought = n.Thinking("Hm.")
    answer = n.NeutralAnswer(
        "a", "m", [n.Choice([thought, n.ToolUse("call_1", "f", "{}")], "stop")]
    )
    asked = MESSAGES.decode_request(_next_request(MESSAGES, answer))
    assert asked.messages[1].parts[0] == thought
    body, losses = MESSAGES.encode_request(asked, "m", QUIRKS)
    assert "thinking" in {loss.feature for loss in losses}
    assert b'"thinking"' not in body


def test_a_signature_on_a_text_goes_back_to_that_text() -> None:
    """Gemini signs the text that hidden thinking led to; it wants the same part back."""
    parts = [{"text": "Yes.", "thoughtSignature": PROOF}]
    wire = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    answer = GENERATE.decode_answer(json.dumps(wire).encode())
    context = AnswerContext(id="1", created_s=1, model="m", origin="gemini")
    for front in (CHAT, RESPONSES_WIRE, MESSAGES):
        said = json.loads(front.encode_answer(answer, context)[0])
        asked = AGAIN[front.name](said)
        turns = asked.get("messages") or asked["input"]
        turns[-1] = {"role": "user", "content": "And?"}
        request = front.decode_request(json.dumps({"model": "m", **asked}).encode())
        body = json.loads(GENERATE.encode_request(request, "m", QUIRKS)[0])
        assert body["contents"][1]["parts"] == parts


# --- where bytes pass through -----------------------------------------------------------------


def test_messages_pass_without_what_others_thought() -> None:
    """Only what another provider gave goes; all else keeps its bytes, and what is lost is named."""
    own = {"type": "thinking", "thinking": "x", "signature": PROOF}
    foreign = {"type": "thinking", "thinking": "y", "signature": seal(Envelope("signature", "s"))}
    hidden = {"type": "redacted_thinking", "data": seal(Envelope("redacted", "s", "responses"))}
    said = {"type": "text", "text": '"tg1.abc', "number": 1.50}
    turns = [
        {"role": "user", "content": '"tg1.abc'},
        {"role": "assistant", "content": [own, foreign, said]},
        {"role": "assistant", "content": [hidden]},
        {"role": "user", "content": "go"},
    ]
    body = json.dumps({"model": "m", "messages": turns}).encode()
    found = message_without_foreign(body, "m")
    assert found is not None
    assert [loss.feature for loss in found[1]] == ["thinking"]
    turns[1]["content"] = [own, said]
    assert json.loads(found[0])["messages"] == [turns[0], turns[1], turns[3]]
    assert json.dumps(said).encode() in found[0]
    assert message_without_foreign(found[0], "m") is None


def test_messages_amid_a_round_of_calls_do_not_think() -> None:
    """The thinking that led to the call was another's, and the API wants it or none."""
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    hidden = {"type": "redacted_thinking", "data": seal(Envelope("call", "s", "gemini", "c"))}
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [hidden, call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "7"}]},
    ]
    thinking = {"type": "enabled", "budget_tokens": 2000}
    found = message_without_foreign(
        json.dumps({"thinking": thinking, "messages": turns}).encode(), "m"
    )
    assert found is not None
    assert "thinking" not in json.loads(found[0])
    assert [loss.feature for loss in found[1]] == ["thinking", "reasoning"]


@pytest.mark.parametrize(("model", "marked"), [("gemini-2.5-pro", False), ("gemini-3-pro", True)])
def test_contents_pass_without_what_others_thought(model: str, marked: bool) -> None:
    """A model that wants its calls signed is told that these are another's."""
    proof = seal_base64(Envelope("signature", PROOF, "anthropic"))
    call = {"functionCall": {"name": "f", "args": {}}}
    parts = [{"text": "y", "thought": True, "thoughtSignature": proof}, call, call]
    body = json.dumps({"contents": [{"role": "model", "parts": parts}]}).encode()
    found = content_without_foreign(body, model)
    assert found is not None
    first = {**call, "thoughtSignature": "skip_thought_signature_validator"} if marked else call
    assert json.loads(found[0])["contents"][0]["parts"] == [first, call]
    assert content_without_foreign(found[0], model) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"messages":1,"contents":1}',
        b'{"messages":[1],"contents":[{"parts":"dGcxL"}]}',
    ],
)
def test_what_cannot_be_read_passes_as_it_is(body: bytes) -> None:
    """The provider says what is wrong with it."""
    assert message_without_foreign(body, "m") is None
    assert content_without_foreign(body, "m") is None


# --- what newer models insist on --------------------------------------------------------------


@pytest.mark.parametrize(("model", "signed"), [("gemini-2.5-pro", False), ("gemini-3-pro", True)])
def test_a_gemini_is_told_of_calls_that_another_model_made(model: str, signed: bool) -> None:
    """From version 3 on it refuses a round of calls without a signature on the first."""
    calls: list[n.Part] = [n.ToolUse("a", "f", "{}"), n.ToolUse("b", "f", "{}")]
    results: list[n.Part] = [n.ToolResult("a", [n.Text("1")]), n.ToolResult("b", [n.Text("2")])]
    turns = [n.Message("user", [n.Text("?")]), n.Message("assistant", calls)]
    request = n.NeutralRequest("openai", "m", [*turns, n.Message("user", results)])
    body = json.loads(GENERATE.encode_request(request, model, QUIRKS)[0])
    first, second = body["contents"][1]["parts"]
    assert first.get("thoughtSignature") == ("skip_thought_signature_validator" if signed else None)
    assert "thoughtSignature" not in second


@pytest.mark.parametrize(
    ("model", "taken"),
    [
        ("claude-3-5-sonnet-20241022", "all"), ("claude-sonnet-4-20250514", "all"),
        ("claude-opus-4@20250514", "all"), ("kimi-k2", "all"),
        ("claude-opus-4-1-20250805", "one"), ("claude-haiku-4-5", "one"),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "one"), ("claude-sonnet-4.6", "one"),
        ("claude-opus-4-7", "none"), ("claude-opus-5", "none"), ("claude-sonnet-5-1", "none"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("back", ["anthropic", "bedrock"])
def test_a_claude_gets_as_much_sampling_as_it_takes(back: str, model: str, taken: str) -> None:
    """Of two parameters that exclude each other the temperature stays; what goes is named."""
    assert sampling_of(model) == taken
    turns = [n.Message("user", [n.Text("?")])]
    request = n.NeutralRequest("openai", "m", turns, temperature=0.5, top_p=0.25)
    raw, losses = BACKS[back].encode_request(request, model, QUIRKS)
    body = json.loads(raw)
    body = body.get("inferenceConfig", {}) if back == "bedrock" else body
    kept = {"all": {"temperature", "top_p"}, "one": {"temperature"}, "none": set()}[taken]
    names = {"temperature": "temperature", "topP": "top_p", "top_p": "top_p"}
    assert {names[name] for name in body if name in names} == kept
    assert {loss.feature for loss in losses} == {"temperature", "top_p"} - kept


def test_a_claude_that_takes_one_gets_top_p_alone() -> None:
    """Only both together are refused."""
    turns = [n.Message("user", [n.Text("?")])]
    request = n.NeutralRequest("openai", "m", turns, top_p=0.25)
    body, losses = MESSAGES.encode_request(request, "claude-opus-4-5", QUIRKS)
    assert json.loads(body)["top_p"] == 0.25
    assert losses == []
