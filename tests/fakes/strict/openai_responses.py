"""OpenAI's Responses, as strict as the `openai` package's types and the API's refusals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from openai.types.responses import response_create_params as params
from tests.fakes.strict import scenarios as s
from tests.fakes.strict.openai_chat import error_of_openai, is_image_url
from tests.fakes.strict.sdk_types import problem
from tests.fakes.strict.wire import Asked, bearer_problem, data_event, dumps


class OpenAIResponses:
    """See `wire.StrictWire`."""

    name = "responses"
    stream_type = "text/event-stream; charset=utf-8"

    def asked(self, path: str, body: dict[str, Any]) -> Asked | None:
        """Serve one path."""
        if path != "/v1/responses":
            return None
        return Asked(str(body.get("model")), body.get("stream") is True)

    def problem_of_headers(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Want a bearer token."""
        return bearer_problem(headers)

    def problem(self, body: dict[str, Any], asked: Asked) -> str | None:
        """Check types, then the rules that types do not say."""
        shape = (
            params.ResponseCreateParamsStreaming
            if asked.stream
            else params.ResponseCreateParamsNonStreaming
        )
        return problem(body, shape) or _rules(body) or _unsigned(body, asked.model)

    def error(self, status: int, message: str) -> tuple[dict[str, str], dict[str, Any]]:
        """Write a refusal."""
        return error_of_openai(status, message)

    def whole(self, reply: s.Reply, asked: Asked) -> dict[str, Any]:
        """Write a whole answer."""
        return _response(reply, "completed")

    def head(self, asked: Asked) -> list[bytes]:
        """Open with the empty response."""
        self._numbers = count()
        self._output_index = count()
        started = _response(s.Reply(), "in_progress")
        return [
            self._event("response.created", response=started),
            self._event("response.in_progress", response=started),
        ]

    def content(self, reply: s.Reply) -> Iterator[bytes]:
        """Stream items, each opened, filled and closed."""
        for item in _items(reply):
            place = {"output_index": next(self._output_index), "item_id": item["id"]}
            at = {"output_index": place["output_index"]}
            yield self._event("response.output_item.added", **at, item=_opened(item))
            if item["type"] == "reasoning":
                yield from self._reasoning(item, place)
            elif item["type"] == "message":
                yield from self._message(item, reply, place)
            else:
                call = next(call for call in reply.calls if call.id == item["call_id"])
                for piece in call.pieces:
                    yield self._event(
                        "response.function_call_arguments.delta", **place, delta=piece
                    )
                yield self._event(
                    "response.function_call_arguments.done", **place,
                    arguments="".join(call.pieces), name=call.name,
                )  # fmt: skip
            yield self._event("response.output_item.done", **at, item=item)

    def _reasoning(self, item: dict[str, Any], place: dict[str, Any]) -> Iterator[bytes]:
        kind = "response.reasoning_summary"
        where = {**place, "summary_index": 0}
        text = item["summary"][0]["text"]
        empty = {"type": "summary_text", "text": ""}
        yield self._event(f"{kind}_part.added", **where, part=empty)
        for piece in (text[:6], text[6:]):
            yield self._event(f"{kind}_text.delta", **where, delta=piece)
        yield self._event(f"{kind}_text.done", **where, text=text)
        yield self._event(f"{kind}_part.done", **where, part=item["summary"][0])

    def _message(
        self, item: dict[str, Any], reply: s.Reply, place: dict[str, Any]
    ) -> Iterator[bytes]:
        where = {**place, "content_index": 0}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._event("response.content_part.added", **where, part=part)
        for word in reply.words:
            yield self._event("response.output_text.delta", **where, delta=word, logprobs=[])
        yield self._event("response.output_text.done", **where, text=reply.text, logprobs=[])
        yield self._event("response.content_part.done", **where, part=item["content"][0])

    def tail(self, reply: s.Reply, body: dict[str, Any]) -> list[bytes]:
        """End with the whole response."""
        return [self._event("response.completed", response=_response(reply, "completed"))]

    def _event(self, kind: str, **fields: Any) -> bytes:
        return data_event({"type": kind, "sequence_number": next(self._numbers), **fields}, kind)


def _items(reply: s.Reply) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if reply.thinking:
        items.append(
            {
                "id": "rs_1", "type": "reasoning", "encrypted_content": s.SIGNATURE,
                "summary": [{"type": "summary_text", "text": reply.thinking}],
            }
        )  # fmt: skip
    if reply.text:
        part = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        items.append(
            {
                "id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
                "content": [part],
            }
        )  # fmt: skip
    items += [
        {
            "id": f"fc_{call.id}", "type": "function_call", "status": "completed",
            "call_id": call.id, "name": call.name, "arguments": dumps(call.arguments),
        }
        for call in reply.calls
    ]  # fmt: skip
    return items


def _opened(item: dict[str, Any]) -> dict[str, Any]:
    opened = {**item}
    if "status" in item:
        opened["status"] = "in_progress"
    for name, empty in (("content", []), ("summary", []), ("arguments", "")):
        if name in item:
            opened[name] = empty
    return opened


def _response(reply: s.Reply, status: str) -> dict[str, Any]:
    usage = {
        "input_tokens": s.INPUT_TOKENS,
        "input_tokens_details": {"cached_tokens": s.CACHED_TOKENS},
        "output_tokens": s.OUTPUT_TOKENS,
        "output_tokens_details": {"reasoning_tokens": s.REASONING_TOKENS if reply.thinking else 0},
        "total_tokens": s.INPUT_TOKENS + s.OUTPUT_TOKENS,
    }
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "model": "m",
        "output": _items(reply), "parallel_tool_calls": True, "temperature": 1.0,
        "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "usage": usage if status == "completed" else None,
    }  # fmt: skip


def _unsigned(body: dict[str, Any], model: str) -> str | None:
    """Want the reasoning that led to a call back before it, and no one else's."""
    before = None
    for at, item in enumerate(body["input"] if isinstance(body["input"], list) else ()):
        if item.get("type") == "reasoning" and item.get("encrypted_content") != s.SIGNATURE:
            return f"input[{at}]: the encrypted content could not be verified"
        if model == "loop" and item.get("type") == "function_call" and before != "reasoning":
            return f"input[{at}]: function_call without its required reasoning item"
        before = item.get("type")
    return None


def _rules(body: dict[str, Any]) -> str | None:
    if not body.get("input"):
        return "input: missing"
    calls: set[str] = set()
    items = body["input"] if isinstance(body["input"], list) else []
    for at, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "function_call":
            calls.add(item["call_id"])
        elif kind == "function_call_output":
            if item["call_id"] not in calls:
                return f"input[{at}]: no tool call found with this id"
            calls.discard(item["call_id"])
        elif kind == "message" and any(
            part["type"] == "input_image" and not is_image_url(part["image_url"])
            for part in (item["content"] if isinstance(item["content"], list) else ())
        ):
            return f"input[{at}]: the image's address is of no known form"
        elif kind == "message" and item["role"] == "assistant":
            for part in item["content"] if isinstance(item["content"], list) else ():
                if part["type"] not in ("output_text", "refusal"):
                    return f"input[{at}]: an assistant's part cannot be {part['type']}"
    if calls:
        return f"input: no output for these calls: {sorted(calls)}"
    if body.get("max_output_tokens") is not None and body["max_output_tokens"] < 16:
        return "max_output_tokens: at least 16"
    return None
