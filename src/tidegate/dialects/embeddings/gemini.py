"""Embeddings in the Gemini API: one text, or several at once.

    :embedContent        {"content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_QUERY",
                          "title": "t", "outputDimensionality": 256}
                         {"embedding": {"values": [0.1, …]}}
    :batchEmbedContents  {"requests": [{"model": "models/m", "content": …}]}
                         {"embeddings": [{"values": [0.1, …]}]}

Source: types `EmbedContentConfig` and `EmbedContentResponse` of the google-genai package, 3.x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tidegate.dialects.embeddings.neutral import (
    EmbeddingAnswer,
    EmbeddingRequest,
    check_texts,
    leftovers,
)
from tidegate.dialects.encode import encode_json
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.gemini.parts import keyed, leave, usage_of_answer
from tidegate.dialects.gemini.request import PathRequest
from tidegate.dialects.gemini.wire import GENERATE
from tidegate.dialects.neutral import WireError
from tidegate.dialects.reading import INTEGER, TEXT
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import Quirks, UnreadableAnswer
from tidegate.errors import BadRequest

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from tidegate.config.snapshot import override

_FIELDS = {
    "embedding.task": "taskType",
    "embedding.title": "title",
    "dimensions": "outputDimensionality",
}
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Values(msgspec.Struct):
    values: list[float]


class _Answer(msgspec.Struct):
    embeddings: list[_Values]


_decode_answer = msgspec.json.Decoder(_Answer).decode


class GeminiEmbeddings:
    """Front of both methods, and back by way of the one for several texts."""

    name = "gemini"
    operation = "gemini_batch_embed"
    fields = _FIELDS

    def __init__(self, *, batch: bool) -> None:
        self._batch = batch

    def decode_request(self, body: bytes) -> EmbeddingRequest:
        """Read a caller's request; all requests of a batch must want the same kind of vector."""
        fields = keyed(body, "body")
        if not self._batch:
            return _request_of(fields, "")
        raw = fields.pop("requests", None)
        try:
            items = [] if raw is None else _decode_list(raw)
        except UNREADABLE:
            raise BadRequest("'requests' must be a list.", param="requests") from None
        if not items:
            raise BadRequest("'requests' is empty.", param="requests")
        read = [
            _request_of(keyed(item, f"requests[{number}]"), f"requests[{number}].")
            for number, item in enumerate(items)
        ]
        first = read[0]
        for number, one in enumerate(read):
            if (one.dimensions, one.task) != (first.dimensions, first.task):
                raise BadRequest(
                    "All requests of a batch must have the same taskType and "
                    "outputDimensionality for this model.",
                    param=f"requests[{number}]",
                )
        return EmbeddingRequest(
            texts=[one.texts[0] for one in read],
            dimensions=first.dimensions,
            task=first.task,
            title=next((one.title for one in read if one.title), ""),
            extra={name: bytes(value) for name, value in fields.items()},
            unread=list(
                dict.fromkeys(
                    [f"requests[].{name}" for one in read for name in one.extra]
                    + [path for one in read for path in one.unread]
                )
            ),
        )

    def encode_answer(
        self, answer: EmbeddingAnswer, request: EmbeddingRequest, model: str, usage: Usage
    ) -> bytes:
        """Write the answer of the method that was called."""
        values = [{"values": vector} for vector in answer.vectors]
        body: dict[str, Any] = {"embeddings": values} if self._batch else {"embedding": values[0]}
        if answer.usage is not None:
            body["usageMetadata"] = {"promptTokenCount": answer.usage.input_tokens}
        return encode_json(body)

    def encode_request(
        self, request: EmbeddingRequest, model: str, quirks: Quirks
    ) -> tuple[bytes, list[Loss]]:
        """Write a provider's request: one for each text."""
        losses = Losses()
        passed = leftovers(request, quirks, losses)
        common: dict[str, Any] = {"model": f"models/{model}"}
        if request.dimensions is not None:
            common["outputDimensionality"] = request.dimensions
        if request.task:
            common["taskType"] = request.task
        if request.title:
            common["title"] = request.title
        if request.user:
            losses.drop("user")
        requests = [{**common, "content": {"parts": [{"text": text}]}} for text in request.texts]
        return encode_json({"requests": requests, **passed}), losses.listed()

    def decode_answer(self, body: bytes) -> EmbeddingAnswer:
        """Read a provider's answer."""
        try:
            found = _decode_answer(body).embeddings
        except UNREADABLE:
            raise UnreadableAnswer("no list of embeddings") from None
        return EmbeddingAnswer([one.values for one in found], usage_of_answer(body))

    def decode_error(self, status: int, body: bytes) -> WireError:
        """Read a provider's refusal."""
        return GENERATE.decode_error(status, body)


class EmbedPathRequest(PathRequest):
    """A request whose path names the model, and whose body may name it once more.

    A provider must never read another model in the body than the one that was asked for.
    """

    __slots__ = ()

    @override
    def body_for(self, model: str, raw_model: msgspec.Raw, force_usage: bool) -> bytes:
        """Return the caller's bytes where no model stands in them, else with the target's."""
        body = self.body
        if b"model" not in body and b"\\u" not in body:
            return body
        try:
            fields = _decode_object(body)
            named = msgspec.Raw(encode_json(f"models/{model}"))
            if "requests" in fields:
                requests = [_decode_object(one) for one in _decode_list(fields["requests"])]
                for one in requests:
                    if "model" in one:
                        one["model"] = named
                fields["requests"] = msgspec.Raw(encode_json(requests))
            if "model" in fields:
                fields["model"] = named
        except UNREADABLE:
            raise BadRequest("The request body is not valid.") from None
        return encode_json(fields)


def _request_of(fields: dict[str, msgspec.Raw], path: str) -> EmbeddingRequest:
    """Read what stands for one text. What is left over becomes `extra`."""
    unread: list[str] = []
    fields.pop("model", None)
    raw_content = fields.pop("content", None)
    if raw_content is None:
        raise BadRequest(f"You must provide '{path}content'.", param=f"{path}content")
    text = _text_of(raw_content, f"{path}content", unread)
    dimensions = fields.pop("outputDimensionality", None)
    task, title = fields.pop("taskType", None), fields.pop("title", None)
    return EmbeddingRequest(
        texts=check_texts([text], f"{path}content"),
        dimensions=None
        if dimensions is None
        else INTEGER.read(dimensions, f"{path}outputDimensionality", unread),
        task="" if task is None else TEXT.read(task, f"{path}taskType", unread),
        title="" if title is None else TEXT.read(title, f"{path}title", unread),
        extra={name: bytes(value) for name, value in fields.items()},
        unread=unread,
    )


def _text_of(raw: msgspec.Raw, path: str, unread: list[str]) -> str:
    """Return the text of a content: its parts are one text to the model."""
    fields = keyed(raw, path)
    fields.pop("role", None)
    raw_parts = fields.pop("parts", None)
    leave(fields, "content", unread)
    try:
        parts = [] if raw_parts is None else _decode_list(raw_parts)
    except UNREADABLE:
        raise BadRequest(f"'{path}.parts' must be a list.", param=f"{path}.parts") from None
    texts = []
    for number, raw_part in enumerate(parts):
        where = f"{path}.parts[{number}]"
        part = keyed(raw_part, where)
        raw_text = part.pop("text", None)
        if raw_text is None:
            raise BadRequest(f"'{where}': this model embeds texts alone.", param=where)
        leave(part, "content.parts[]", unread)
        texts.append(TEXT.read(raw_text, f"{where}.text", unread))
    return "\n".join(texts)


GEMINI_EMBEDDINGS = GeminiEmbeddings(batch=False)
GEMINI_BATCH_EMBEDDINGS = GeminiEmbeddings(batch=True)
