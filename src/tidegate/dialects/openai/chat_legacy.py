"""Functions, which the Chat API had before tools, and which some clients still ask with.

    {"functions": [{"name":…,"parameters":…}], "function_call": "auto" | "none" | {"name":…}}
    {"role": "assistant", "function_call": {"name":…,"arguments":…}}     one call, without an id
    {"role": "function", "name":…, "content":…}                          its result

They are read as tools, and the answer is written as the caller waits for it: `function_call` in
place of `tool_calls`, also as the finish reason. A turn holds one call, so a target is asked for
no more than one, and of several the first is handed on.

Source: `functions`, `function_call` and `ChatCompletionFunctionMessageParam` of the openai
package, 3.x, deprecated there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidegate.dialects.fidelity import Losses
from tidegate.dialects.neutral import (
    FinishReason,
    NeutralRequest,
    Tool,
    ToolChoice,
    ToolDelta,
    ToolStart,
    ToolUse,
)
from tidegate.dialects.openai import chat_shapes as shapes
from tidegate.dialects.openai.chat_answer import FINISH_WRITE, google_content
from tidegate.dialects.openai.chat_encoder import ChatStreamEncoder
from tidegate.errors import BadRequest

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from tidegate.config.snapshot import override

_FINISH: dict[FinishReason, str] = {**FINISH_WRITE, "tool_use": "function_call"}

# --- reading --------------------------------------------------------------------------------


def read_functions(request: NeutralRequest, wire: shapes.Request) -> None:
    """Read `functions` and `function_call` as tools; raises `BadRequest`."""
    functions, choice = wire.functions, wire.function_call
    if functions is None:
        if choice is not None:
            raise BadRequest("'function_call' needs 'functions'.", param="function_call")
        return
    if request.tools or request.tool_choice is not None:
        raise BadRequest(
            "'functions' is the predecessor of 'tools': give one of them.", param="functions"
        )
    request.legacy_functions = True
    for function in functions:
        schema = bytes(function.parameters)
        request.tools.append(
            Tool(function.name, function.description, None if schema == b"null" else schema)
        )
    if functions:
        request.parallel_tool_calls = False
    if choice is None:
        return
    if not isinstance(choice, str):
        request.tool_choice = ToolChoice("tool", choice.name)
    elif choice == "auto":
        request.tool_choice = ToolChoice("auto")
    elif choice == "none":
        request.tool_choice = ToolChoice("none")
    else:
        raise BadRequest("'function_call' is not valid.", param="function_call")


class FunctionCalls:
    """Gives the calls of a conversation the ids that other dialects want.

    They are numbered from its start, so that they are the same in the next request.
    """

    __slots__ = ("_count", "_open")

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str, str]] = []  # name and id of calls without a result so far

    def begin(self, call: shapes.FunctionCall) -> ToolUse:
        """Take a call that the model has made."""
        identifier = f"function_call_{self._count}"
        self._count += 1
        self._open.append((call.name, identifier))
        google = None if call.extra_content is None else call.extra_content.google
        return ToolUse(
            identifier,
            call.name,
            call.arguments,
            signature="" if google is None else google.thought_signature,
        )

    def end(self, name: str | None, path: str) -> str:
        """Return the id of the call that a result at *path* is for; raises `BadRequest`."""
        if name is None:
            raise BadRequest(f"'{path}.name' is missing.", param=f"{path}.name")
        for place in reversed(range(len(self._open))):
            if self._open[place][0] == name:
                return self._open.pop(place)[1]
        raise BadRequest(
            f"'{path}' is the result of a function that no message before it calls.",
            param=f"{path}.name",
        )


# --- writing --------------------------------------------------------------------------------


def write_legacy_choice(choice: dict[str, Any], losses: Losses) -> None:
    """Turn a written choice with `tool_calls` into one with `function_call`, in place."""
    message = choice["message"]
    calls = message.pop("tool_calls", None)
    if calls:
        first = calls[0]
        called = first.get("function")
        if called is None:  # free text, though such a caller can ask for no tool that takes it
            called = {"name": first["custom"]["name"], "arguments": first["custom"]["input"]}
        message["function_call"] = {
            **called,
            **{name: first[name] for name in ("extra_content",) if name in first},
        }
    if calls and len(calls) > 1:
        losses.drop("answer.tool_use")
    if choice["finish_reason"] == FINISH_WRITE["tool_use"]:
        choice["finish_reason"] = _FINISH["tool_use"]


class LegacyStreamEncoder(ChatStreamEncoder):
    """Writes a stream whose call is a `function_call`; see `wire.StreamEncoder`."""

    __slots__ = ()

    finish_reasons = _FINISH

    @override
    def _tool_start(self, event: ToolStart) -> bytes:
        if event.call:
            self._losses.drop("answer.tool_use")
            return b""
        call: dict[str, Any] = {"name": event.name, "arguments": ""}
        if event.signature:
            call["extra_content"] = google_content(event.signature)
        chunk = self._chunk(event.choice, {"function_call": call})
        self._choices[event.choice].thought = []
        return chunk

    @override
    def _tool_delta(self, event: ToolDelta) -> bytes:
        if event.call:
            return b""
        return self._chunk(event.choice, {"function_call": {"arguments": event.arguments}})
