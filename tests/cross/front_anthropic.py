"""The `anthropic` package asking Messages."""

from __future__ import annotations

from itertools import islice
from typing import Any

import anthropic
from tests.cross import seen as w
from tests.cross.front_openai import Weather
from tests.fakes.strict.scenarios import SIGNATURE

_MARK = {"type": "ephemeral"}
_RICH: dict[str, Any] = {
    "max_tokens": 4000, "stop_sequences": ["END<1>", "END<2>"], "metadata": {"user_id": "user-77"},
    "system": [{"type": "text", "text": w.SYSTEM, "cache_control": _MARK}],
    "extra_body": {"temperature": 0.375, "top_p": 0.875, "top_k": 40},
    "extra_headers": {"anthropic-version": "2023-06-01"},
}  # fmt: skip
_TOOLS: dict[str, Any] = {
    "tools": [
        {
            "name": w.TOOL_NAME, "description": w.TOOL_DESCRIPTION, "input_schema": w.TOOL,
            "strict": True,
        }
    ],
    "tool_choice": {"type": "tool", "name": w.TOOL_NAME, "disable_parallel_tool_use": True},
}  # fmt: skip


class AnthropicFront:
    """See `seen.Front`."""

    name = "anthropic"

    def __init__(self, url: str, key: str) -> None:
        self.last = w.Heard()
        self._client: Any = anthropic.Anthropic(
            base_url=url, api_key=key, max_retries=0, http_client=self.last.client()
        )

    def close(self) -> None:
        """Close the SDK's connections."""
        self._client.close()

    def ask(self, scenario: str, model: str) -> w.Seen:
        """Play a scenario."""
        try:
            return self._ask(scenario, model)
        except anthropic.APIStatusError as error:
            body: Any = error.body
            return w.Seen(
                status=error.status_code,
                error_class=type(error).__name__,
                message=str(body["error"]["message"]),
                retry_after=error.response.headers.get("retry-after", ""),
            )

    def _ask(self, scenario: str, model: str) -> w.Seen:
        messages = self._client.messages
        asked = self._request(scenario, model)
        if scenario == "schema":
            answer = messages.parse(**asked, output_format=Weather)
            parsed = answer.parsed_output
            return _whole(answer, (parsed.city, parsed.days))
        if scenario in ("stream", "tool stream", "reasoning stream"):
            with messages.stream(**asked) as stream:
                return _whole(stream.get_final_message())
        if scenario.startswith("thinking loop"):
            return self._loop(asked, streams=scenario.endswith("stream"))
        if scenario in w.FAILING_STREAMS:
            text = ""
            try:
                with messages.stream(**asked) as stream:
                    for piece in stream.text_stream:
                        text += piece
            except anthropic.APIStatusError as error:
                if not text:
                    raise
                kind, body = type(error).__name__, error.body
                return w.Seen(text, error_class=kind, message=str(body["error"]["message"]))
            return w.Seen(text)
        if scenario == "cancel":
            with messages.stream(**asked) as stream:
                pieces = list(islice(stream.text_stream, 3))
            return w.Seen("".join(pieces))
        answer = messages.create(**asked)
        if scenario == "reasoning back":
            turn = {"role": "assistant", "content": answer.content}
            again = {"role": "user", "content": w.QUESTION}
            answer = messages.create(**{**asked, "messages": [*asked["messages"], turn, again]})
        return _whole(answer)

    def _loop(self, asked: dict[str, Any], *, streams: bool) -> w.Seen:
        """Answer the model's call as programs do: with its own content sent back."""
        messages = self._client.messages
        if streams:
            with messages.stream(**asked) as stream:
                answer = stream.get_final_message()
        else:
            answer = messages.create(**asked)
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": w.RESULT}
            for block in answer.content
            if block.type == "tool_use"
        ]
        turns = [
            *asked["messages"],
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": results},
        ]
        return _whole(messages.create(**{**asked, "messages": turns}))

    def _request(self, scenario: str, model: str) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "model": model, "max_tokens": 3000, "system": w.SYSTEM,
            "messages": [{"role": "user", "content": w.QUESTION}],
        }  # fmt: skip
        if scenario in ("text", "stream"):
            return {**asked, **_RICH}
        if scenario in ("tools", "tool stream"):
            return {**asked, **_TOOLS}
        if scenario == "tool result":
            call = {"type": "tool_use", "id": "call_oslo", "name": w.TOOL_NAME,
                    "input": {"city": "Oslo", "days": 2}}  # fmt: skip
            result = {"type": "tool_result", "tool_use_id": "call_oslo", "content": w.RESULT,
                      "is_error": True}  # fmt: skip
            turns = [
                {"role": "user", "content": w.EARLIER},
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [result, {"type": "text", "text": w.QUESTION}]},
            ]
            return {**asked, "messages": turns, "tools": _TOOLS["tools"]}
        if scenario in ("image", "image url"):
            source = {"type": "base64", "media_type": "image/png", "data": w.RED_DOT}
            if scenario == "image url":
                source = {"type": "url", "url": w.IMAGE_URL}
            parts = [{"type": "image", "source": source}, {"type": "text", "text": w.QUESTION}]
            return {**asked, "messages": [{"role": "user", "content": parts}]}
        if scenario.startswith("thinking loop"):
            asked["tools"] = [{**_TOOLS["tools"][0], "strict": False}]
        if scenario.startswith(("reasoning", "thinking")):
            return {**asked, "thinking": {"type": "enabled", "budget_tokens": 2048}}
        return asked

    def sent(self, scenario: str) -> list[w.Sent]:
        """Return what the scenario's request says."""
        question = w.Sent("question", "messages[].content", w.QUESTION)
        system = w.Sent("system", "system", w.SYSTEM)
        asked = [system, question, w.Sent("max_tokens", "max_tokens", 3000)]
        if scenario in ("text", "stream"):
            return [
                system, question,
                w.Sent("max_tokens", "max_tokens", 4000),
                w.Sent("stop", "stop_sequences", ["END<1>", "END<2>"]),
                w.Sent("user", "metadata.user_id", "user-77"),
                w.Sent("temperature", "temperature", 0.375),
                w.Sent("top_p", "top_p", 0.875),
                w.Sent("top_k", "top_k", 40),
                w.Sent("cache", "messages[].content[].cache_control", 1),
            ]  # fmt: skip
        if scenario in ("tools", "tool stream"):
            return [
                *asked,
                w.Sent("tools", "tools[]", [(w.TOOL_NAME, w.TOOL_DESCRIPTION)]),
                w.Sent("tool_schema", "tools[]", [["city", "days"]]),
                w.Sent("strict", "tools[].strict", [True]),
                w.Sent("forced", "tool_choice", w.TOOL_NAME),
                w.Sent("one_call", "tool_choice.disable_parallel_tool_use", True),
            ]
        if scenario == "tool result":
            return [
                *asked,
                w.Sent("call", "messages[].content[].input", [{"city": "Oslo", "days": 2}]),
                w.Sent("result", "messages[].content[]", [w.RESULT]),
                w.Sent("result_error", "messages[].content[].is_error", [True]),
            ]
        if scenario == "image":
            return [*asked, w.Sent("image", "messages[].content[]", [w.RED_DOT])]
        if scenario == "image url":
            path = "messages[].content[].source.url"
            return [*asked, w.Sent("image_url", path, [w.IMAGE_URL])]
        if scenario == "schema":
            return [*asked, w.Sent("schema", "output_config.format", ["city", "days"])]
        if scenario in ("reasoning", "reasoning stream"):
            return [*asked, w.Sent("budget", "thinking.budget_tokens", 2048)]
        if scenario == "reasoning back":
            return [question, w.Sent("signature", "messages[].content[].thinking", [SIGNATURE])]
        if scenario.startswith("thinking loop"):
            return [
                w.Sent("signature", "messages[].content[].thinking", [SIGNATURE]),
                w.Sent("call", "messages[].content[].input", [{"city": "Oslo", "days": 2}]),
                w.Sent("result", "messages[].content[]", [w.RESULT]),
            ]
        return asked


def _whole(answer: Any, parsed: tuple[str, int] | None = None) -> w.Seen:
    blocks = answer.content
    usage = answer.usage
    cached = usage.cache_read_input_tokens or 0
    thoughts = [block for block in blocks if block.type == "thinking"]
    return w.Seen(
        text="".join(block.text for block in blocks if block.type == "text"),
        thinking="".join(block.thinking for block in thoughts),
        signed=any(w.holds(block.signature, SIGNATURE) for block in thoughts)
        or any(w.holds(b.data, SIGNATURE) for b in blocks if b.type == "redacted_thinking"),
        calls=[(block.name, block.input) for block in blocks if block.type == "tool_use"],
        finish={"end_turn": "stop", "tool_use": "tool_use"}[answer.stop_reason],
        input_tokens=usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0),
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cache_read_input_tokens,
        parsed=parsed,
    )
