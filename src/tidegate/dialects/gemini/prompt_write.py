"""Instructions and turns of a `generateContent` request."""

from __future__ import annotations

import mimetypes
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tidegate.dialects.encode import call_arguments, json_object, refuse_empty, says
from tidegate.dialects.fidelity import Losses
from tidegate.dialects.gemini.parts import NAME
from tidegate.dialects.neutral import (
    Audio,
    CacheMarker,
    Document,
    Image,
    Message,
    NeutralRequest,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from tidegate.dialects.wire import Quirks
from tidegate.errors import BadRequest

#: The signature that Google documents for calls of a conversation that came from elsewhere.
#: Source: ai.google.dev/gemini-api/docs/thought-signatures.
FOREIGN_CALL = "skip_thought_signature_validator"
_VERSION = re.compile(r"gemini-(\d{1,2})")
_SIGNED_CALLS_SINCE = 3


class PromptWriter:
    """Writes instructions and turns of one request; collects its losses.

    Attributes:
        losses: So far.
        calls: Whether a turn may have called a function.
    """

    __slots__ = ("_names", "_quirks", "_request", "calls", "losses")

    def __init__(self, request: NeutralRequest, quirks: Quirks) -> None:
        self._request = request
        self._quirks = quirks
        #: Id of a call → the function's name, which a result must repeat.
        self._names: dict[str, str] = {}
        self.losses = Losses()
        self.calls = False

    def _takes(self, feature: str) -> bool:
        """Whether the target takes *feature*; a refused one is named."""
        if feature in self._quirks.unsupported:
            self.losses.drop(feature)
            return False
        return True

    # --- prompt -----------------------------------------------------------------------------

    def prompt(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the instructions and the turns."""
        request = self._request
        system = [self._text(part) for part in request.system if part.text]
        contents: list[dict[str, Any]] = []
        for number, message in enumerate(request.messages):
            if message.name is not None:
                self.losses.drop("message.name")
            given = message.parts
            if len(given) == 1 and type(part := given[0]) is Text and part.text:
                parts = [self._text(part)]
            else:
                parts = self._parts(message)
            if message.role == "system":
                # It keeps its authority and loses its place.
                self.losses.bend("system.position")
                system.extend(parts)
                continue
            if not parts:
                if message.role == "user" and says(message):
                    raise refuse_empty(f"messages[{number}]", "anything of this turn")
                continue
            role = "model" if message.role == "assistant" else "user"
            if contents and contents[-1]["role"] == role:
                contents[-1]["parts"].extend(parts)
            else:
                contents.append({"role": role, "parts": parts})
        if not contents:
            raise BadRequest("The request holds no turn for the model to answer.", param="messages")
        if request.cache_last is not None:
            self._cache(request.cache_last)
        return system, contents

    def _parts(self, message: Message) -> list[dict[str, Any]]:
        """Write a turn; the proof of thinking that was not shown goes on the text it led to."""
        written: list[dict[str, Any]] = []
        proof = ""
        for part in message.parts:
            if isinstance(part, Thinking) and _is_bare_proof(part):
                if proof:
                    written.append({"text": "", "thoughtSignature": proof})
                proof = part.signature or ""
                continue
            one = self._part(part)
            if one is None:
                continue
            if proof and isinstance(part, Text):
                one["thoughtSignature"] = proof
            elif proof:
                written.append({"text": "", "thoughtSignature": proof})
            proof = ""
            written.append(one)
        if proof:
            written.append({"text": "", "thoughtSignature": proof})
        return written

    def _part(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, Text):
            return self._text(part) if part.text else None
        if isinstance(part, ToolUse):
            return self._call(part)
        if isinstance(part, ToolResult):
            return self._result(part)
        if isinstance(part, Thinking):
            return self._thinking(part)
        if isinstance(part, Image):
            return self._image(part)
        if isinstance(part, Document):
            return self._document(part)
        if isinstance(part, Audio):
            return self._audio(part)
        if isinstance(part, Refusal):
            self.losses.bend("refusal")
            return {"text": part.text} if part.text else None
        if part.dialect == NAME:
            self.calls = True  # it may be one
            return msgspec.json.decode(part.raw, type=dict[str, Any])
        self.losses.drop("part")
        return None

    def _text(self, part: Text) -> dict[str, Any]:
        if part.cache is not None:
            self._cache(part.cache)
        if part.citations:
            self.losses.drop("citations")
        return {"text": part.text}

    def _call(self, part: ToolUse) -> dict[str, Any]:
        self._cache(part.cache)
        self.calls = True
        self._names[part.id] = part.name
        arguments = call_arguments(part, self.losses)
        call: dict[str, Any] = {"name": part.name, "args": msgspec.Raw(arguments)}
        if part.id:
            call["id"] = part.id
        written: dict[str, Any] = {"functionCall": call}
        if part.signature:
            written["thoughtSignature"] = part.signature
        return written

    def _result(self, part: ToolResult) -> dict[str, Any]:
        self._cache(part.cache)
        texts = []
        media = []
        for item in part.parts:
            if isinstance(item, Text):
                self._cache(item.cache)
                texts.append(item.text)
            elif (written := self._part(item)) is not None:
                if "inlineData" in written and self._takes("tool_result.media"):
                    media.append(written)
                elif "text" in written:
                    texts.append(written["text"])
                else:
                    self.losses.drop("tool_result.media")
        text = "\n".join(texts)
        raw = json_object(text) if text.lstrip()[:1] == "{" else None
        response: Any
        if part.is_error:
            response = {"error": text}
        elif raw is not None:
            response = msgspec.Raw(raw)
        else:
            response = {"output": text}
        name = part.name or self._names.get(part.tool_use_id, "")
        if not name:
            raise BadRequest(
                "A tool result answers no call of this conversation.", param="messages"
            )
        result: dict[str, Any] = {"name": name, "response": response}
        if part.tool_use_id:
            result["id"] = part.tool_use_id
        if media:
            result["parts"] = media
        return {"functionResponse": result}

    def _thinking(self, part: Thinking) -> dict[str, Any] | None:
        """Write thinking of this API's models; a proof of another's means nothing here."""
        if part.origin != NAME or part.redacted is not None:
            self.losses.drop("thinking")
            return None
        written: dict[str, Any] = {"text": part.text, "thought": True}
        if part.signature:
            written["thoughtSignature"] = part.signature
        return written

    def _image(self, part: Image) -> dict[str, Any] | None:
        self._cache(part.cache)
        if not self._takes("image"):
            return None
        if part.detail not in (None, "auto"):
            self.losses.drop("image.detail")
        if part.data:
            return {"inlineData": {"mimeType": part.mime or "image/png", "data": part.data}}
        if part.url:
            if not self._takes("image.url"):
                return None
            return _file(part.url, part.mime or _mime_of(part.url, "image/jpeg"))
        if self._request.dialect == NAME:
            return _file(part.file_id, part.mime)
        self.losses.drop("image.file_id")
        return None

    def _document(self, part: Document) -> dict[str, Any] | None:
        self._cache(part.cache)
        if not self._takes("document"):
            return None
        if part.cites:
            self.losses.drop("document.citations")
        if part.context is not None:
            self.losses.drop("document.context")
        if part.text:
            if part.title:
                self.losses.drop("document.title")
            self.losses.bend("document")
            return {"text": part.text}
        if part.data:
            data: dict[str, Any] = {"mimeType": part.mime or "application/pdf", "data": part.data}
            if part.title:
                data["displayName"] = part.title
            return {"inlineData": data}
        if part.title:
            self.losses.drop("document.title")
        if part.url:
            if not self._takes("document.url"):
                return None
            return _file(part.url, part.mime or _mime_of(part.url, "application/pdf"))
        if self._request.dialect == NAME:
            return _file(part.file_id, part.mime)
        self.losses.drop("document.file_id")
        return None

    def _audio(self, part: Audio) -> dict[str, Any] | None:
        self._cache(part.cache)
        if not self._takes("audio"):
            return None
        if part.data:
            return {"inlineData": {"mimeType": f"audio/{part.format or 'wav'}", "data": part.data}}
        if part.transcript:
            self.losses.bend("audio")
            return {"text": part.transcript}
        self.losses.drop("audio")
        return None

    def _cache(self, marker: CacheMarker | None) -> None:
        """Name a cache marker: prefixes are cached without one here."""
        if marker is not None:
            self.losses.drop("cache_marker")


def _is_bare_proof(part: Thinking) -> bool:
    return part.origin == NAME and not part.text and bool(part.signature) and part.redacted is None


def wants_signed_calls(model: str) -> bool:
    """Whether *model* refuses a round of calls whose first one is without a signature."""
    version = _VERSION.search(model)
    return version is not None and int(version[1]) >= _SIGNED_CALLS_SINCE


def sign_foreign_calls(contents: list[dict[str, Any]]) -> None:
    """Mark calls that no Gemini made, or whose state got lost, as such; see `FOREIGN_CALL`."""
    for content in contents:
        if content["role"] == "model":
            first = next((part for part in content["parts"] if "functionCall" in part), None)
            if first is not None:
                first.setdefault("thoughtSignature", FOREIGN_CALL)


def _file(uri: str, mime: str) -> dict[str, Any]:
    data = {"fileUri": uri}
    if mime:
        data["mimeType"] = mime
    return {"fileData": data}


def _mime_of(url: str, otherwise: str) -> str:
    try:
        path = urlsplit(url).path
    except ValueError:  # it is none: for the provider to say
        return otherwise
    return mimetypes.guess_type(path)[0] or otherwise
