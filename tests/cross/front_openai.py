"""The `openai` package asking Chat Completions."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import openai
import pydantic
from tests.cross import seen as w
from tests.fakes.strict.scenarios import SIGNATURE


class Weather(pydantic.BaseModel):
    """What structured answers are asked to be."""

    city: str
    days: int


FUNCTION = {"name": w.TOOL_NAME, "description": w.TOOL_DESCRIPTION, "parameters": w.TOOL}
_RICH: dict[str, Any] = {
    "max_completion_tokens": 4000, "temperature": 0.375, "top_p": 0.875, "seed": 4711,
    "stop": ["END<1>", "END<2>"], "presence_penalty": 0.25, "frequency_penalty": 0.125,
    "user": "user-77", "metadata": {"trace": "t-1"},
}  # fmt: skip
_SYSTEM: dict[str, Any] = {"role": "system", "content": w.SYSTEM}
_QUESTION: dict[str, Any] = {"role": "user", "content": w.QUESTION}
_TOOLS: dict[str, Any] = {
    "tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": w.TOOL_NAME}},
    "parallel_tool_calls": False,
}


class OpenAIFront:
    """See `seen.Front`."""

    name = "openai"

    def __init__(self, url: str, key: str) -> None:
        self.last = w.Heard()
        self._client: Any = openai.OpenAI(
            base_url=f"{url}/v1", api_key=key, max_retries=0, http_client=self.last.client()
        )

    def close(self) -> None:
        """Close the SDK's connections."""
        self._client.close()

    def ask(self, scenario: str, model: str) -> w.Seen:
        """Play a scenario."""
        try:
            return self._ask(scenario, model)
        except openai.APIStatusError as error:
            return failure(error)

    def _ask(self, scenario: str, model: str) -> w.Seen:
        chat = self._client.chat.completions
        asked = self._request(scenario, model)
        if scenario == "schema":
            answer = chat.parse(**asked, response_format=Weather)
            parsed = answer.choices[0].message.parsed
            return _whole(answer, (parsed.city, parsed.days))
        if scenario in ("stream", "tool stream", "reasoning stream"):
            return self._stream(asked)
        if scenario.startswith("thinking loop"):
            return self._loop(asked, streams=scenario.endswith("stream"))
        if scenario in w.FAILING_STREAMS:
            text = ""
            try:
                for chunk in chat.create(**asked, stream=True):
                    text += chunk.choices[0].delta.content or ""
            except openai.APIStatusError:
                raise
            except openai.APIError as error:
                return w.Seen(text, error_class=type(error).__name__, message=error.message)
            return w.Seen(text)
        if scenario == "cancel":
            with chat.create(**asked, stream=True) as stream:
                first = list(islice(stream, 5))
            return w.Seen("".join(chunk.choices[0].delta.content or "" for chunk in first))
        answer = chat.create(**asked)
        if scenario == "reasoning back":
            message = answer.choices[0].message.model_dump(exclude_none=True)
            again = {"role": "user", "content": w.QUESTION}
            answer = chat.create(**{**asked, "messages": [*asked["messages"], message, again]})
        return _whole(answer)

    def _request(self, scenario: str, model: str) -> dict[str, Any]:
        asked: dict[str, Any] = {"model": model, "messages": [_SYSTEM, _QUESTION]}
        if scenario in ("text", "stream"):
            return {**asked, **_RICH}
        if scenario in ("tools", "tool stream"):
            return {**asked, **_TOOLS}
        if scenario == "tool result":
            function = {"name": w.TOOL_NAME, "arguments": '{"city":"Oslo","days":2}'}
            call = {"id": "call_oslo", "type": "function", "function": function}
            turns = [
                {"role": "user", "content": w.EARLIER},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_oslo", "content": w.RESULT},
            ]
            return {"model": model, "messages": [_SYSTEM, *turns], "tools": _TOOLS["tools"]}
        if scenario in ("image", "image url"):
            url = w.IMAGE_URL if scenario == "image url" else f"data:image/png;base64,{w.RED_DOT}"
            parts = [
                {"type": "text", "text": w.QUESTION},
                {"type": "image_url", "image_url": {"url": url}},
            ]
            return {"model": model, "messages": [{"role": "user", "content": parts}]}
        if scenario.startswith("thinking loop"):
            asked["tools"] = [{"type": "function", "function": FUNCTION}]
        if scenario.startswith(("reasoning", "thinking")):
            return {**asked, "reasoning_effort": "medium", "max_completion_tokens": 20000}
        return asked

    def _loop(self, asked: dict[str, Any], *, streams: bool) -> w.Seen:
        """Answer the model's call as programs do: with its own message sent back."""
        chat = self._client.chat.completions
        if streams:
            with chat.stream(**asked) as stream:
                answer = stream.get_final_completion()
        else:
            answer = chat.create(**asked)
        message = answer.choices[0].message.model_dump(exclude_none=True)
        turns = [*asked["messages"], message]
        for call in message["tool_calls"]:
            call.pop("index", None)  # what the SDK joined a stream's pieces by
            turns.append({"role": "tool", "tool_call_id": call["id"], "content": w.RESULT})
        return _whole(chat.create(**{**asked, "messages": turns}))

    def _stream(self, asked: dict[str, Any]) -> w.Seen:
        options = {"include_usage": True}
        thinking, chunks = "", ""
        with self._client.chat.completions.stream(**asked, stream_options=options) as stream:
            for event in stream:
                if event.type == "chunk" and event.chunk.choices:
                    extra = event.chunk.choices[0].delta.model_extra or {}
                    thinking += extra.get("reasoning_content") or ""
                    chunks += json.dumps(extra)
            answer = stream.get_final_completion()
        found = _whole(answer)
        found.thinking, found.signed = thinking, SIGNATURE in chunks
        return found

    def sent(self, scenario: str) -> list[w.Sent]:
        """Return what the scenario's request says."""
        question = w.Sent("question", "messages[]", w.QUESTION)
        system = w.Sent("system", "messages[]", w.SYSTEM)
        if scenario in ("text", "stream"):
            names = {"max_completion_tokens": "max_tokens"}
            rich = [w.Sent(names.get(name, name), name, value) for name, value in _RICH.items()]
            return [system, question, *rich]
        if scenario in ("tools", "tool stream"):
            return [system, question, *tool_facts("tools[].function", "tool_choice")]
        if scenario == "tool result":
            return [
                system,
                w.Sent("call", "messages[].tool_calls", [{"city": "Oslo", "days": 2}]),
                w.Sent("result", "messages[].content", [w.RESULT]),
                w.Sent("strict", "tools[].function.strict", [True]),
            ]
        if scenario == "image":
            return [question, w.Sent("image", "messages[].content[].image_url", [w.RED_DOT])]
        if scenario == "image url":
            path = "messages[].content[].image_url.url"
            return [question, w.Sent("image_url", path, [w.IMAGE_URL])]
        if scenario == "schema":
            return [
                system,
                w.Sent("schema", "response_format", ["city", "days"]),
                w.Sent("schema_name", "response_format.json_schema.name", "Weather"),
            ]
        if scenario in ("reasoning", "reasoning stream"):
            return [question, w.Sent("reasoning", "reasoning_effort", "medium")]
        if scenario == "reasoning back":
            path = "messages[].reasoning_details"
            return [question, w.Sent("signature", path, [SIGNATURE])]
        if scenario.startswith("thinking loop"):
            return [
                w.Sent("signature", "messages[].reasoning_details", [SIGNATURE]),
                w.Sent("call", "messages[].tool_calls", [{"city": "Oslo", "days": 2}]),
                w.Sent("result", "messages[].content", [w.RESULT]),
            ]
        return [system, question]


def tool_facts(path: str, choice: str) -> list[w.Sent]:
    """Return what a request with one strict, forced tool says."""
    return [
        w.Sent("tools", path, [(w.TOOL_NAME, w.TOOL_DESCRIPTION)]),
        w.Sent("tool_schema", path, [["city", "days"]]),
        w.Sent("strict", f"{path}.strict", [True]),
        w.Sent("forced", choice, w.TOOL_NAME),
        w.Sent("one_call", "parallel_tool_calls", True),
    ]


def failure(error: Any) -> w.Seen:
    """Return a refusal as the SDK raised it."""
    return w.Seen(
        status=error.status_code,
        error_class=type(error).__name__,
        message=str(error.body["message"] if isinstance(error.body, dict) else error.body),
        retry_after=error.response.headers.get("retry-after", ""),
    )


def _whole(answer: Any, parsed: tuple[str, int] | None = None) -> w.Seen:
    choice = answer.choices[0]
    message = choice.message
    extra = message.model_extra or {}
    details = answer.usage.prompt_tokens_details
    return w.Seen(
        text=message.content or "",
        thinking=extra.get("reasoning_content") or "",
        signed=SIGNATURE in json.dumps(extra),
        calls=[
            (call.function.name, json.loads(call.function.arguments))
            for call in message.tool_calls or ()
        ],
        finish={"stop": "stop", "tool_calls": "tool_use"}[choice.finish_reason],
        input_tokens=answer.usage.prompt_tokens,
        output_tokens=answer.usage.completion_tokens,
        cached_tokens=None if details is None else details.cached_tokens,
        parsed=parsed,
    )
