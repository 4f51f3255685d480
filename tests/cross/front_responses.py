"""The `openai` package asking Responses."""

from __future__ import annotations

import json
from typing import Any

import openai
from tests.cross import seen as w
from tests.cross.front_openai import Weather, failure, tool_facts
from tests.fakes.strict.scenarios import SIGNATURE

_RICH: dict[str, Any] = {
    "max_output_tokens": 4000, "temperature": 0.375, "top_p": 0.875,
    "safety_identifier": "user-77", "metadata": {"trace": "t-1"},
}  # fmt: skip
_TOOLS: dict[str, Any] = {
    "tools": [
        {
            "type": "function", "name": w.TOOL_NAME, "description": w.TOOL_DESCRIPTION,
            "parameters": w.TOOL, "strict": True,
        }
    ],
    "tool_choice": {"type": "function", "name": w.TOOL_NAME},
    "parallel_tool_calls": False,
}  # fmt: skip


class ResponsesFront:
    """See `seen.Front`."""

    name = "responses"

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
        responses = self._client.responses
        asked = self._request(scenario, model)
        if scenario == "schema":
            answer = responses.parse(**asked, text_format=Weather)
            parsed = answer.output_parsed
            return _whole(answer, (parsed.city, parsed.days))
        if scenario in ("stream", "tool stream", "reasoning stream"):
            deltas: dict[str, str] = {}
            with responses.stream(**asked) as stream:
                for event in stream:
                    if event.type.endswith(".delta"):
                        deltas[event.type] = deltas.get(event.type, "") + event.delta
                found = _whole(stream.get_final_response())
            assert deltas.get("response.output_text.delta", "") == found.text
            return found
        if scenario.startswith("thinking loop"):
            return self._loop(asked, streams=scenario.endswith("stream"))
        if scenario in w.FAILING_STREAMS:
            found = w.Seen()
            with responses.create(**asked, stream=True) as stream:
                for event in stream:
                    if event.type == "response.output_text.delta":
                        found.text += event.delta
                    elif event.type == "error":
                        found.error_class, found.message = event.type, event.message
                    elif event.type == "response.failed":
                        found.error_class = event.type
                        found.message = found.message or event.response.error.message
            return found
        if scenario == "cancel":
            text = ""
            with responses.create(**asked, stream=True) as stream:
                for event in stream:
                    text += event.delta if event.type == "response.output_text.delta" else ""
                    if len(text) > 20:
                        break
            return w.Seen(text)
        answer = responses.create(**asked)
        if scenario == "reasoning back":
            turn = [{"role": "user", "content": w.EARLIER}, *answer.output]
            again = {"role": "user", "content": w.QUESTION}
            answer = responses.create(**{**asked, "input": [*turn, again]})
        return _whole(answer)

    def _loop(self, asked: dict[str, Any], *, streams: bool) -> w.Seen:
        """Answer the model's call as programs do: with its own items sent back."""
        responses = self._client.responses
        if streams:
            with responses.stream(**asked) as stream:
                answer = stream.get_final_response()
        else:
            answer = responses.create(**asked)
        turns: list[Any] = [{"role": "user", "content": w.EARLIER}]
        turns += [item.model_dump(exclude_none=True) for item in answer.output]
        turns += [
            {"type": "function_call_output", "call_id": item.call_id, "output": w.RESULT}
            for item in answer.output
            if item.type == "function_call"
        ]
        return _whole(responses.create(**{**asked, "input": turns}))

    def _request(self, scenario: str, model: str) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "model": model, "instructions": w.SYSTEM, "input": w.QUESTION, "store": False,
        }  # fmt: skip
        if scenario in ("text", "stream"):
            return {**asked, **_RICH}
        if scenario in ("tools", "tool stream"):
            return {**asked, **_TOOLS}
        if scenario == "tool result":
            call = {
                "type": "function_call", "call_id": "call_oslo", "name": w.TOOL_NAME,
                "arguments": '{"city":"Oslo","days":2}',
            }  # fmt: skip
            result = {"type": "function_call_output", "call_id": "call_oslo", "output": w.RESULT}
            turns = [{"role": "user", "content": w.EARLIER}, call, result]
            return {**asked, "input": turns, "tools": _TOOLS["tools"]}
        if scenario in ("image", "image url"):
            url = w.IMAGE_URL if scenario == "image url" else f"data:image/png;base64,{w.RED_DOT}"
            parts = [
                {"type": "input_text", "text": w.QUESTION},
                {"type": "input_image", "image_url": url, "detail": "auto"},
            ]
            return {**asked, "input": [{"role": "user", "content": parts}]}
        if scenario.startswith("thinking loop"):
            asked["tools"] = [{**_TOOLS["tools"][0], "strict": False}]
        if scenario.startswith(("reasoning", "thinking")):
            more = {"include": ["reasoning.encrypted_content"], "max_output_tokens": 20000}
            return {**asked, **more, "reasoning": {"effort": "medium"}}
        return asked

    def sent(self, scenario: str) -> list[w.Sent]:
        """Return what the scenario's request says."""
        question = w.Sent("question", "input", w.QUESTION)
        system = w.Sent("system", "instructions", w.SYSTEM)
        if scenario in ("text", "stream"):
            names = {"max_output_tokens": "max_tokens", "safety_identifier": "user"}
            rich = [w.Sent(names.get(name, name), name, value) for name, value in _RICH.items()]
            return [system, question, *rich]
        if scenario in ("tools", "tool stream"):
            return [system, question, *tool_facts("tools[]", "tool_choice")]
        if scenario == "tool result":
            return [
                system,
                w.Sent("call", "input[].arguments", [{"city": "Oslo", "days": 2}]),
                w.Sent("result", "input[].output", [w.RESULT]),
            ]
        if scenario == "image":
            return [question, w.Sent("image", "input[].content[].image_url", [w.RED_DOT])]
        if scenario == "image url":
            path = "input[].content[].image_url"
            return [question, w.Sent("image_url", path, [w.IMAGE_URL])]
        if scenario == "schema":
            return [
                system,
                w.Sent("schema", "text.format", ["city", "days"]),
                w.Sent("schema_name", "text.format.name", "Weather"),
            ]
        if scenario in ("reasoning", "reasoning stream"):
            return [question, w.Sent("reasoning", "reasoning", "medium")]
        if scenario == "reasoning back":
            return [question, w.Sent("signature", "input[].encrypted_content", [SIGNATURE])]
        if scenario.startswith("thinking loop"):
            return [
                w.Sent("signature", "input[].encrypted_content", [SIGNATURE]),
                w.Sent("call", "input[].arguments", [{"city": "Oslo", "days": 2}]),
                w.Sent("result", "input[].output", [w.RESULT]),
            ]
        return [system, question]


def _whole(answer: Any, parsed: tuple[str, int] | None = None) -> w.Seen:
    thoughts = [item for item in answer.output if item.type == "reasoning"]
    calls = [item for item in answer.output if item.type == "function_call"]
    assert answer.status == "completed", answer
    return w.Seen(
        text=answer.output_text,
        thinking="".join(
            part.text for item in thoughts for part in item.summary or item.content or ()
        ),
        signed=any(item.encrypted_content for item in thoughts),
        calls=[(item.name, json.loads(item.arguments)) for item in calls],
        finish="tool_use" if calls else "stop",
        input_tokens=answer.usage.input_tokens,
        output_tokens=answer.usage.output_tokens,
        cached_tokens=answer.usage.input_tokens_details.cached_tokens,
        parsed=parsed,
    )
