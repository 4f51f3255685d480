"""The `google-genai` package asking generateContent."""

from __future__ import annotations

import base64
from itertools import islice
from typing import Any

from google import genai
from google.genai import errors, types
from tests.cross import seen as w
from tests.cross.front_openai import Weather
from tests.fakes.strict.scenarios import SIGNATURE

_RICH: dict[str, Any] = {
    "max_output_tokens": 4000, "temperature": 0.375, "top_p": 0.875, "top_k": 40, "seed": 4711,
    "stop_sequences": ["END<1>", "END<2>"], "presence_penalty": 0.25, "frequency_penalty": 0.125,
}  # fmt: skip
_FUNCTION = types.FunctionDeclaration(
    name=w.TOOL_NAME, description=w.TOOL_DESCRIPTION, parameters_json_schema=w.TOOL
)
_TOOLS: dict[str, Any] = {
    "tools": [types.Tool(function_declarations=[_FUNCTION])],
    "tool_config": types.ToolConfig(
        function_calling_config=types.FunctionCallingConfig(
            mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=[w.TOOL_NAME]
        )
    ),
}


class GeminiFront:
    """See `seen.Front`."""

    name = "gemini"

    def __init__(self, url: str, key: str) -> None:
        self.last = w.Heard()
        self._http = self.last.client()
        options = types.HttpOptions(base_url=url, httpx_client=self._http)
        self._client = genai.Client(api_key=key, http_options=options)

    def close(self) -> None:
        """Close the SDK's connections."""
        self._client.close()
        self._http.close()

    def ask(self, scenario: str, model: str) -> w.Seen:
        """Play a scenario."""
        try:
            return self._ask(scenario, model)
        except errors.APIError as error:
            return w.Seen(
                status=error.code,
                error_class=type(error).__name__,
                message=str(error.message),
                retry_after=self.last.headers.get("retry-after", ""),
            )

    def _ask(self, scenario: str, model: str) -> w.Seen:
        models: Any = self._client.models
        config, contents = self._request(scenario)
        asked = {"model": model, "config": types.GenerateContentConfig(**config)}
        if scenario in ("stream", "tool stream", "reasoning stream"):
            stream = models.generate_content_stream(**asked, contents=contents)
            return _seen(list(stream))
        if scenario.startswith("thinking loop"):
            return self._loop(asked, contents, streams=scenario.endswith("stream"))
        if scenario in w.FAILING_STREAMS:
            text = ""
            try:
                for piece in models.generate_content_stream(**asked, contents=contents):
                    text += piece.text or ""
            except errors.APIError as error:
                if not text:
                    raise
                kind = type(error).__name__
                return w.Seen(text, error_class=kind, message=str(error.message))
            return w.Seen(text)
        if scenario == "cancel":
            stream = models.generate_content_stream(**asked, contents=contents)
            pieces = [piece.text for piece in islice(stream, 3)]
            stream.close()
            return w.Seen("".join(pieces))
        answer = models.generate_content(**asked, contents=contents)
        if scenario == "reasoning back":
            turns = [_turn(w.EARLIER), answer.candidates[0].content, _turn(w.QUESTION)]
            answer = models.generate_content(**asked, contents=turns)
        return _seen([answer])

    def _loop(self, asked: dict[str, Any], contents: list[Any], *, streams: bool) -> w.Seen:
        """Answer the model's call as programs do: with its own parts sent back."""
        models: Any = self._client.models
        if streams:
            answers = list(models.generate_content_stream(**asked, contents=contents))
        else:
            answers = [models.generate_content(**asked, contents=contents)]
        parts = [part for one in answers for part in one.candidates[0].content.parts or ()]
        results = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=part.function_call.id,
                    name=part.function_call.name,
                    response={"output": w.RESULT},
                )
            )
            for part in parts
            if part.function_call is not None
        ]
        turns = [
            *contents,
            types.Content(role="model", parts=parts),
            types.Content(role="user", parts=results),
        ]
        return _seen([models.generate_content(**asked, contents=turns)])

    def _request(self, scenario: str) -> tuple[dict[str, Any], list[Any]]:
        config: dict[str, Any] = {"system_instruction": w.SYSTEM}
        contents: list[Any] = [_turn(w.QUESTION)]
        if scenario in ("text", "stream"):
            config |= _RICH
        elif scenario in ("tools", "tool stream"):
            config |= _TOOLS
        elif scenario == "tool result":
            config["tools"] = _TOOLS["tools"]
            call = types.FunctionCall(
                id="call_oslo", name=w.TOOL_NAME, args={"city": "Oslo", "days": 2}
            )
            result = types.FunctionResponse(
                id="call_oslo", name=w.TOOL_NAME, response={"error": w.RESULT}
            )
            contents = [
                _turn(w.EARLIER),
                types.Content(role="model", parts=[types.Part(function_call=call)]),
                types.Content(role="user", parts=[types.Part(function_response=result)]),
            ]
        elif scenario in ("image", "image url"):
            image = types.Part.from_bytes(data=base64.b64decode(w.RED_DOT), mime_type="image/png")
            if scenario == "image url":
                image = types.Part.from_uri(file_uri=w.IMAGE_URL, mime_type="image/png")
            contents[0].parts.append(image)
        elif scenario == "schema":
            config |= {"response_mime_type": "application/json", "response_schema": Weather}
        elif scenario.startswith(("reasoning", "thinking")):
            if scenario.startswith("thinking"):
                config["tools"] = _TOOLS["tools"]
            thinking = types.ThinkingConfig(thinking_budget=2048, include_thoughts=True)
            config |= {"thinking_config": thinking, "max_output_tokens": 20000}
        return config, contents

    def sent(self, scenario: str) -> list[w.Sent]:
        """Return what the scenario's request says."""
        question = w.Sent("question", "contents[]", w.QUESTION)
        asked = [question, w.Sent("system", "systemInstruction", w.SYSTEM)]
        if scenario in ("text", "stream"):
            names = {"max_output_tokens": "max_tokens", "stop_sequences": "stop"}
            return [
                *asked,
                *(
                    w.Sent(names.get(name, name), f"generationConfig.{_camel(name)}", value)
                    for name, value in _RICH.items()
                ),
            ]
        if scenario in ("tools", "tool stream"):
            path = "tools[].functionDeclarations[]"
            return [
                *asked,
                w.Sent("tools", path, [(w.TOOL_NAME, w.TOOL_DESCRIPTION)]),
                w.Sent("tool_schema", path, [["city", "days"]]),
                w.Sent("forced", "toolConfig.functionCallingConfig", w.TOOL_NAME),
            ]
        part = "contents[].parts[]"
        if scenario == "tool result":
            return [
                asked[1],
                w.Sent("call", f"{part}.functionCall.args", [{"city": "Oslo", "days": 2}]),
                w.Sent("result", f"{part}.functionResponse", [w.RESULT]),
                w.Sent("result_error", f"{part}.functionResponse", [True]),
            ]
        if scenario == "image":
            return [*asked, w.Sent("image", f"{part}.inlineData", [w.RED_DOT])]
        if scenario == "image url":
            return [*asked, w.Sent("image_url", f"{part}.fileData.fileUri", [w.IMAGE_URL])]
        if scenario == "schema":
            return [
                *asked,
                w.Sent("schema", "generationConfig.responseJsonSchema", ["city", "days"]),
            ]
        if scenario in ("reasoning", "reasoning stream"):
            path = "generationConfig.thinkingConfig.thinkingBudget"
            return [*asked, w.Sent("budget", path, 2048)]
        if scenario == "reasoning back":
            return [question, w.Sent("signature", f"{part}.thought", [SIGNATURE])]
        if scenario.startswith("thinking loop"):
            return [
                w.Sent("signature", f"{part}.thought", [SIGNATURE]),
                w.Sent("call", f"{part}.functionCall.args", [{"city": "Oslo", "days": 2}]),
                w.Sent("result", f"{part}.functionResponse", [w.RESULT]),
            ]
        return asked


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _turn(text: str) -> types.Content:
    return types.Content(role="user", parts=[types.Part(text=text)])


def _seen(answers: list[Any]) -> w.Seen:
    found = w.Seen()
    parts = [
        part
        for answer in answers
        for candidate in answer.candidates or ()
        if candidate.content is not None
        for part in candidate.content.parts or ()
    ]
    for part in parts:
        if part.thought_signature is not None:
            signature = base64.b64encode(part.thought_signature).decode()
            held = part.thought_signature.decode("latin-1")
            found.signed = found.signed or signature == SIGNATURE or SIGNATURE in held
        if part.thought:
            found.thinking += part.text or ""
        elif part.text:
            found.text += part.text
        if part.function_call is not None:
            found.calls.append((part.function_call.name, part.function_call.args))
    last = answers[-1]
    assert last.candidates[0].finish_reason == "STOP", last
    found.finish = "tool_use" if found.calls else "stop"
    usage = last.usage_metadata
    found.input_tokens = usage.prompt_token_count
    found.output_tokens = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    found.cached_tokens = usage.cached_content_token_count
    if isinstance(last.parsed, Weather):
        found.parsed = (last.parsed.city, last.parsed.days)
    return found
