"""Instructions and turns of a `generateContent` request, read."""

from __future__ import annotations

import msgspec

from tidegate.dialects.envelope import (
    CALL_ORIGIN,
    Envelope,
    is_sealed_base64,
    thinking_of_envelope,
    unseal_base64,
)
from tidegate.dialects.gemini.parts import NAME, keyed, leave
from tidegate.dialects.neutral import (
    Audio,
    Document,
    Image,
    Message,
    NeutralRequest,
    OpaquePart,
    Part,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from tidegate.dialects.reading import (
    FLAG,
    TEXT,
    Shape,
    json_text,
    note,
)
from tidegate.errors import BadRequest

_ITEMS: Shape[list[msgspec.Raw]] = Shape(list[msgspec.Raw])

_Fields = dict[str, msgspec.Raw]

#: Part kinds that only this API has.
_OPAQUE = (
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)


class PromptReader:
    """Reads instructions and turns of one request into its neutral form."""

    __slots__ = ("_request", "_results", "unread")

    def __init__(self, request: NeutralRequest) -> None:
        self._request = request
        #: Calls without an id get one; results without one answer calls of their name in order.
        self._results: dict[str, list[str]] = {}
        self.unread: list[str] = []

    # --- prompt -----------------------------------------------------------------------------

    def system(self, raw: msgspec.Raw) -> None:
        """Read the instructions: a content, or a plain text as some clients send it."""
        if bytes(raw)[:1] == b'"':
            self._request.system = [Text(TEXT.read(raw, "systemInstruction", self.unread))]
            return
        content = keyed(raw, "systemInstruction")
        content.pop("role", None)
        for number, item in enumerate(self._items(content, "parts", "systemInstruction.parts")):
            part = self._part(item, f"systemInstruction.parts[{number}]")
            if not isinstance(part, Text):
                raise BadRequest(
                    "'systemInstruction' may hold text only.", param="systemInstruction.parts"
                )
            self._request.system.append(part)
        leave(content, "systemInstruction", self.unread)

    def contents(self, raw: msgspec.Raw) -> None:
        """Read the turns: a list of contents, one content, or a plain text."""
        first = bytes(raw)[:1]
        if first == b'"':
            text = TEXT.read(raw, "contents", self.unread)
            self._request.messages.append(Message("user", [Text(text)]))
            return
        items = [raw] if first == b"{" else _ITEMS.read(raw, "contents", self.unread)
        if not items:
            raise BadRequest("'contents' must not be empty.", param="contents")
        for number, item in enumerate(items):
            path = f"contents[{number}]"
            content = keyed(item, path)
            role = "user"
            if "role" in content:
                role = TEXT.read(content.pop("role"), f"{path}.role", self.unread)
            if role not in ("user", "model", "function", ""):
                raise BadRequest(f"'{path}.role' must be user or model.", param=f"{path}.role")
            parts: list[Part] = []
            for place, part in enumerate(self._items(content, "parts", f"{path}.parts")):
                parts.extend(self._parts(part, f"{path}.parts[{place}]"))
            _join_thoughts(parts)
            leave(content, "contents[]", self.unread)
            self._request.messages.append(
                Message("assistant" if role == "model" else "user", parts)
            )

    def _items(self, fields: _Fields, name: str, path: str) -> list[msgspec.Raw]:
        raw = fields.pop(name, None)
        return [] if raw is None else _ITEMS.read(raw, path, self.unread)

    def _part(self, raw: msgspec.Raw, path: str) -> Part:
        """Read a part where none stands for two."""
        return self._parts(raw, path)[-1]

    def _parts(self, raw: msgspec.Raw, path: str) -> list[Part]:
        """Read a part; the proof of thinking that was not shown hangs on the text it led to."""
        fields = keyed(raw, path)
        for kind in _OPAQUE:
            if kind in fields:
                return [OpaquePart(NAME, kind, bytes(raw))]
        proof = None
        if "thoughtSignature" in fields:
            proof = self._proof(TEXT.read(fields.pop("thoughtSignature"), path, self.unread))
        thought = "thought" in fields and FLAG.read(fields.pop("thought"), path, self.unread)
        parts: list[Part]
        if "functionCall" in fields:
            state = ""
            if proof is not None and proof.origin == CALL_ORIGIN and proof.kind != "redacted":
                state, proof = proof.value, None
            parts = [self._call(fields.pop("functionCall"), path, state)]
        elif "functionResponse" in fields:
            parts = [self._result(fields.pop("functionResponse"), path)]
        elif "inlineData" in fields:
            parts = [self._inline(fields.pop("inlineData"), path)]
        elif "fileData" in fields:
            parts = [self._file(fields.pop("fileData"), path)]
        elif "text" in fields or thought or proof is not None:
            text = ""
            if "text" in fields:
                text = TEXT.read(fields.pop("text"), f"{path}.text", self.unread)
            hidden = text if thought else ""
            parts = [Text(text)] if text and not thought else []
            if proof is not None and proof.kind != "call":
                parts.insert(0, thinking_of_envelope(proof, hidden))
                proof = None
            elif thought:
                parts = [Thinking(text, origin=NAME)]
            elif not parts:
                parts = [Text(text)]
        else:
            return [OpaquePart(NAME, next(iter(fields), "empty"), bytes(raw))]
        if proof is not None:
            note(self.unread, "contents[].parts[].thoughtSignature")
        leave(fields, "contents[].parts[]", self.unread)
        return parts

    def _proof(self, signature: str) -> Envelope | None:
        """Return what a signature proves, and whose it is; None for one that is broken."""
        if not signature:
            return None
        if not is_sealed_base64(signature):
            return Envelope("signature", plain_base64(signature), NAME)
        envelope = unseal_base64(signature)
        if envelope is None:
            note(self.unread, "contents[].parts[].thoughtSignature")
        return envelope

    def _call(self, raw: msgspec.Raw, path: str, signature: str) -> ToolUse:
        fields = keyed(raw, f"{path}.functionCall")
        name = self._text(fields, "name", f"{path}.functionCall.name")
        identifier = self._text(fields, "id", f"{path}.functionCall.id")
        waiting = self._results.setdefault(name, [])
        if not identifier:
            identifier = f"call_{name}_{len(waiting)}"
        waiting.append(identifier)
        args = fields.pop("args", None)
        leave(fields, "contents[].parts[].functionCall", self.unread)
        return ToolUse(
            identifier,
            name,
            "{}" if args is None else json_text(bytes(args)),
            signature=signature,
        )

    def _result(self, raw: msgspec.Raw, path: str) -> ToolResult:
        fields = keyed(raw, f"{path}.functionResponse")
        name = self._text(fields, "name", f"{path}.functionResponse.name")
        identifier = self._text(fields, "id", f"{path}.functionResponse.id")
        waiting = self._results.get(name)
        if not identifier and waiting:
            identifier = waiting.pop(0)
        elif waiting and identifier in waiting:
            waiting.remove(identifier)
        response = fields.pop("response", None)
        fields.pop("scheduling", None)
        is_error = False
        text = "{}" if response is None else json_text(bytes(response))
        if response is not None and bytes(response)[:1] == b"{":
            inner = keyed(response, f"{path}.functionResponse.response")
            if len(inner) == 1:
                # The two names that the API documents for a result and for a failure.
                key, value = next(iter(inner.items()))
                if key in ("output", "result", "error"):
                    is_error = key == "error"
                    text = json_text(bytes(value))
                    if text[:1] == '"':
                        text = TEXT.read(value, path, self.unread)
        result = ToolResult(identifier or f"call_{name}_0", [Text(text)], is_error, name)
        for number, raw_media in enumerate(self._items(fields, "parts", path)):
            media = self._part(raw_media, f"{path}.functionResponse.parts[{number}]")
            if isinstance(media, (Image, Document, OpaquePart)):
                result.parts.append(media)
        leave(fields, "contents[].parts[].functionResponse", self.unread)
        return result

    def _text(self, fields: _Fields, name: str, path: str) -> str:
        raw = fields.pop(name, None)
        return "" if raw is None else TEXT.read(raw, path, self.unread)

    def _inline(self, raw: msgspec.Raw, path: str) -> Part:
        fields = keyed(raw, f"{path}.inlineData")
        mime = self._text(fields, "mimeType", f"{path}.inlineData.mimeType")
        data = plain_base64(self._text(fields, "data", f"{path}.inlineData.data"))
        title = self._text(fields, "displayName", path) or None
        leave(fields, "contents[].parts[].inlineData", self.unread)
        if mime.startswith("image/"):
            return Image(mime=mime, data=data)
        if mime.startswith("audio/"):
            return Audio(data=data, format=mime.partition("/")[2])
        return Document(mime, data, title=title)

    def _file(self, raw: msgspec.Raw, path: str) -> Part:
        fields = keyed(raw, f"{path}.fileData")
        mime = self._text(fields, "mimeType", f"{path}.fileData.mimeType")
        uri = self._text(fields, "fileUri", f"{path}.fileData.fileUri")
        title = self._text(fields, "displayName", path) or None
        leave(fields, "contents[].parts[].fileData", self.unread)
        own = uri.startswith(("https://generativelanguage.googleapis.com/", "files/", "gs://"))
        if mime.startswith("image/"):
            return Image(file_id=uri, mime=mime) if own else Image(url=uri, mime=mime)
        if own:
            return Document(mime, file_id=uri, title=title)
        return Document(mime, url=uri, title=title)


def _join_thoughts(parts: list[Part]) -> None:
    """Join the pieces in which a stream brought thinking that another provider signed as a whole.

    Clients keep the pieces as they came: all but the last are without the signature.
    """
    start = 0
    while start < len(parts):
        end = start
        while end < len(parts) and _is_piece(parts[end]):
            end += 1
        last = parts[end] if end < len(parts) else None
        if isinstance(last, Thinking) and last.signature and last.origin != NAME:
            pieces = [part.text for part in parts[start:end] if isinstance(part, Thinking)]
            last.text = "".join(pieces) + last.text
            del parts[start:end]
            end = start
        start = end + 1


def _is_piece(part: Part) -> bool:
    return isinstance(part, Thinking) and part.signature is None and part.redacted is None


_PLAIN = str.maketrans("-_", "+/")


def plain_base64(data: str) -> str:
    """Return base64 in the usual alphabet, padded: Google takes both, its SDK writes the other."""
    if "-" not in data and "_" not in data:
        return data
    return data.translate(_PLAIN) + "=" * (-len(data) % 4)
