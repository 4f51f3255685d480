"""What a provider's request says, read out of the places that its documentation gives.

Written apart from the gateway's own readers, so that a field in the wrong place is not found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

Facts = dict[str, Any]
_FAILED = "Error: "


def facts_of(wire: str, body: dict[str, Any]) -> Facts:
    """Return the facts of a request; what is not said is not there."""
    found = _READERS[wire](body)
    return {name: value for name, value in found.items() if value not in (None, "", [], {})}


def _texts(content: Any, kinds: tuple[str, ...] = ("text",)) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if part.get("type") in kinds)


def _parts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        part
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
    ]


def _properties(schema: Any) -> list[str]:
    return sorted((schema or {}).get("properties", {}))


def _results(texts: Iterable[str]) -> Facts:
    """Read results of APIs that have no flag for a failed one: words tell it."""
    found = list(texts)
    return {
        "result": [text.removeprefix(_FAILED) for text in found],
        "result_error": [True for text in found if text.startswith(_FAILED)],
    }


def _chat(body: dict[str, Any]) -> Facts:
    messages = body["messages"]
    tools = [tool["function"] for tool in body.get("tools", ())]
    schema = (body.get("response_format") or {}).get("json_schema") or {}
    images = [p["image_url"]["url"] for p in _parts(messages) if p["type"] == "image_url"]
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    choice = body.get("tool_choice")
    return {
        **{name: body.get(name) for name in (
            "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "user",
            "metadata",
        )},
        "stop": body.get("stop"),
        "max_tokens": body.get("max_completion_tokens") or body.get("max_tokens"),
        "system": "".join(
            _texts(m["content"]) for m in messages if m["role"] in ("system", "developer")
        ),
        "question": _texts(messages[-1]["content"]) if messages[-1]["role"] == "user" else "",
        "tools": [(tool["name"], tool.get("description")) for tool in tools],
        "tool_schema": [_properties(tool.get("parameters")) for tool in tools],
        "strict": [tool.get("strict") for tool in tools if tool.get("strict") is not None],
        "forced": choice["function"]["name"] if isinstance(choice, dict) else choice,
        "one_call": body.get("parallel_tool_calls") is False or None,
        "call": [json.loads(call["function"]["arguments"]) for call in calls],
        **_results(_texts(m["content"]) for m in messages if m["role"] == "tool"),
        "image": [url.partition("base64,")[2] for url in images if url.startswith("data:")],
        "image_url": [url for url in images if not url.startswith("data:")],
        "schema": _properties(schema.get("schema")),
        "schema_name": schema.get("name"),
        "reasoning": body.get("reasoning_effort"),
    }  # fmt: skip


def _responses(body: dict[str, Any]) -> Facts:
    items = body["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    messages = [item for item in items if item.get("type", "message") == "message"]
    schema = (body.get("text") or {}).get("format") or {}
    images = [p.get("image_url") for p in _parts(messages) if p["type"] == "input_image"]
    kinds = ("input_text", "output_text")
    choice = body.get("tool_choice")
    return {
        **{name: body.get(name) for name in ("temperature", "top_p", "metadata")},
        "user": body.get("user") or body.get("safety_identifier"),
        "max_tokens": body.get("max_output_tokens"),
        "system": (body.get("instructions") or "") + "".join(
            _texts(m["content"], kinds) for m in messages if m["role"] in ("system", "developer")
        ),
        "question": _texts(items[-1]["content"], kinds) if items[-1].get("role") == "user" else "",
        "tools": [(tool["name"], tool.get("description")) for tool in body.get("tools", ())],
        "tool_schema": [_properties(tool.get("parameters")) for tool in body.get("tools", ())],
        "strict": [tool["strict"] for tool in body.get("tools", ()) if tool.get("strict")],
        "forced": choice["name"] if isinstance(choice, dict) else choice,
        "one_call": body.get("parallel_tool_calls") is False or None,
        "call": [json.loads(i["arguments"]) for i in items if i.get("type") == "function_call"],
        **_results(
            _texts(i["output"], kinds) for i in items if i.get("type") == "function_call_output"
        ),
        "image": [url.partition("base64,")[2] for url in images if url.startswith("data:")],
        "image_url": [url for url in images if not url.startswith("data:")],
        "schema": _properties(schema.get("schema")),
        "schema_name": schema.get("name"),
        "reasoning": (body.get("reasoning") or {}).get("effort"),
        "signature": [i["encrypted_content"] for i in items if i.get("type") == "reasoning"],
    }  # fmt: skip


def _messages(body: dict[str, Any]) -> Facts:
    blocks = _parts(body["messages"])
    last = body["messages"][-1]
    sources = [block["source"] for block in blocks if block["type"] == "image"]
    results = [block for block in blocks if block["type"] == "tool_result"]
    config = body.get("output_config") or {}
    schema = (config.get("format") or {}).get("schema")
    choice = body.get("tool_choice") or {}
    marked = [b for b in [*blocks, *_list(body.get("system"))] if b.get("cache_control")]
    return {
        **{name: body.get(name) for name in ("temperature", "top_p", "top_k")},
        "stop": body.get("stop_sequences"),
        "max_tokens": body["max_tokens"],
        "user": (body.get("metadata") or {}).get("user_id"),
        "system": _texts(body.get("system")),
        "question": _texts(last["content"]),
        "tools": [(tool["name"], tool.get("description")) for tool in body.get("tools", ())],
        "tool_schema": [_properties(tool.get("input_schema")) for tool in body.get("tools", ())],
        "strict": [tool["strict"] for tool in body.get("tools", ()) if tool.get("strict")],
        "forced": choice.get("name") or {"any": "required"}.get(choice.get("type", "")),
        "one_call": choice.get("disable_parallel_tool_use") or None,
        "call": [block["input"] for block in blocks if block["type"] == "tool_use"],
        "result": [_texts(block["content"]) for block in results],
        "result_error": [True for block in results if block.get("is_error")],
        "image": [source["data"] for source in sources if source["type"] == "base64"],
        "image_url": [source["url"] for source in sources if source["type"] == "url"],
        "schema": _properties(schema),
        "reasoning": config.get("effort"),
        "budget": (body.get("thinking") or {}).get("budget_tokens"),
        "signature": [block["signature"] for block in blocks if block["type"] == "thinking"],
        "cache": len(marked) or None,
    }


def _list(content: Any) -> list[dict[str, Any]]:
    return content if isinstance(content, list) else []


def _camel(value: Any) -> Any:
    """Return JSON with Google's field names in one of their two spellings."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        re.sub("_([a-z])", lambda found: found[1].upper(), name): _camel(item)
        for name, item in value.items()
    }


def _plain_base64(text: str) -> str:
    """Return base64 in the usual alphabet: Google takes both."""
    return text.replace("-", "+").replace("_", "/")


def _generate(body: dict[str, Any]) -> Facts:
    body = _camel(body)
    parts = [part for content in body["contents"] for part in content["parts"]]
    last = body["contents"][-1]
    config = body.get("generationConfig") or {}
    functions = [
        function
        for tool in body.get("tools", ())
        for function in tool.get("functionDeclarations", ())
    ]
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    names = calling.get("allowedFunctionNames")
    thinking = config.get("thinkingConfig") or {}
    results = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
    mode = {"ANY": "required"}.get(calling.get("mode", ""))
    return {
        "temperature": config.get("temperature"),
        "top_p": config.get("topP"),
        "top_k": config.get("topK"),
        "seed": config.get("seed"),
        "presence_penalty": config.get("presencePenalty"),
        "frequency_penalty": config.get("frequencyPenalty"),
        "stop": config.get("stopSequences"),
        "max_tokens": config.get("maxOutputTokens"),
        "system": "".join(
            p["text"] for p in (body.get("systemInstruction") or {}).get("parts", ())
        ),
        "question": "".join(part.get("text", "") for part in last["parts"]),
        "tools": [(function["name"], function.get("description")) for function in functions],
        "tool_schema": [
            _properties(function.get("parametersJsonSchema") or function.get("parameters"))
            for function in functions
        ],
        "forced": names[0] if names and mode else mode,
        "call": [part["functionCall"]["args"] for part in parts if "functionCall" in part],
        "result": [
            next(str(r[key]) for key in ("result", "output", "error") if key in r) for r in results
        ],
        "result_error": [True for result in results if "error" in result],
        "image": [
            _plain_base64(part["inlineData"]["data"]) for part in parts if "inlineData" in part
        ],
        "image_url": [part["fileData"]["fileUri"] for part in parts if "fileData" in part],
        "schema": _properties(config.get("responseJsonSchema") or config.get("responseSchema")),
        "reasoning": (thinking.get("thinkingLevel") or "").lower(),
        "budget": thinking.get("thinkingBudget"),
        "signature": [
            _plain_base64(part["thoughtSignature"]) for part in parts if "thoughtSignature" in part
        ],
    }


def _converse(body: dict[str, Any]) -> Facts:
    blocks = _parts(body["messages"])
    config = body.get("inferenceConfig") or {}
    specs = [
        tool["toolSpec"] for tool in (body.get("toolConfig") or {}).get("tools", ())
        if "toolSpec" in tool
    ]  # fmt: skip
    choice = (body.get("toolConfig") or {}).get("toolChoice") or {}
    more = body.get("additionalModelRequestFields") or {}
    results = [block["toolResult"] for block in blocks if "toolResult" in block]
    text = ((body.get("outputConfig") or {}).get("textFormat") or {}).get("structure") or {}
    schema = text.get("jsonSchema") or {}
    thoughts = [b["reasoningContent"] for b in blocks if "reasoningContent" in b]
    points = [b for b in [*blocks, *body.get("system", ())] if "cachePoint" in b]
    return {
        "temperature": config.get("temperature"),
        "top_p": config.get("topP"),
        "top_k": more.get("top_k"),
        "stop": config.get("stopSequences"),
        "max_tokens": config.get("maxTokens"),
        "metadata": body.get("requestMetadata"),
        "system": "".join(block.get("text", "") for block in body.get("system", ())),
        "question": "\n".join(
            block["text"] for block in body["messages"][-1]["content"] if "text" in block
        ),
        "tools": [(spec["name"], spec.get("description")) for spec in specs],
        "tool_schema": [_properties(spec["inputSchema"]["json"]) for spec in specs],
        "strict": [spec["strict"] for spec in specs if spec.get("strict")],
        "forced": (choice.get("tool") or {}).get("name")
        or ("required" if "any" in choice else None),
        "call": [block["toolUse"]["input"] for block in blocks if "toolUse" in block],
        "result": ["".join(c.get("text", "") for c in result["content"]) for result in results],
        "result_error": [True for result in results if result.get("status") == "error"],
        "image": [b["image"]["source"]["bytes"] for b in blocks if "image" in b],
        "schema": _properties(json.loads(schema["schema"])) if schema else None,
        "schema_name": schema.get("name"),
        "budget": (more.get("thinking") or {}).get("budget_tokens"),
        "signature": [t["reasoningText"]["signature"] for t in thoughts if "reasoningText" in t],
        "cache": len(points) or None,
    }


def _cohere(body: dict[str, Any]) -> Facts:
    messages = body["messages"]
    tools = [tool["function"] for tool in body.get("tools", ())]
    images = [p["image_url"]["url"] for p in _parts(messages) if p["type"] == "image_url"]
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    required = body.get("tool_choice") == "REQUIRED"
    return {
        **{name: body.get(name) for name in (
            "temperature", "seed", "presence_penalty", "frequency_penalty", "max_tokens",
        )},
        "top_p": body.get("p"),
        "top_k": body.get("k"),
        "stop": body.get("stop_sequences"),
        "system": "".join(_texts(m["content"]) for m in messages if m["role"] == "system"),
        "question": _texts(messages[-1]["content"]) if messages[-1]["role"] == "user" else "",
        "tools": [(tool["name"], tool.get("description")) for tool in tools],
        "tool_schema": [_properties(tool.get("parameters")) for tool in tools],
        "strict": [True] if body.get("strict_tools") else None,
        "forced": (tools[0]["name"] if len(tools) == 1 else "required") if required else None,
        "call": [json.loads(call["function"]["arguments"]) for call in calls],
        **_results(_texts(m["content"]) for m in messages if m["role"] == "tool"),
        "image": [url.partition("base64,")[2] for url in images if url.startswith("data:")],
        "image_url": [url for url in images if not url.startswith("data:")],
        "schema": _properties((body.get("response_format") or {}).get("json_schema")),
        "budget": (body.get("thinking") or {}).get("token_budget"),
    }  # fmt: skip


_READERS: dict[str, Callable[[dict[str, Any]], Facts]] = {
    "openai": _chat,
    "responses": _responses,
    "anthropic": _messages,
    "gemini": _generate,
    "bedrock": _converse,
    "cohere": _cohere,
}
