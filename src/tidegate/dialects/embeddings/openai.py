"""Embeddings in OpenAI's API.

    {"model": "m", "input": ["a", "b"], "dimensions": 256, "encoding_format": "base64"}
    {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1, …]}],
     "model": "m", "usage": {"prompt_tokens": 2, "total_tokens": 2}}

Source: types `EmbeddingCreateParams` and `CreateEmbeddingResponse` of the openai package, 3.x.
"""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Any, Literal

import msgspec

from tidegate.dialects.embeddings.neutral import (
    EmbeddingAnswer,
    EmbeddingRequest,
    check_texts,
    leftovers,
)
from tidegate.dialects.encode import encode_json
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import WireError
from tidegate.dialects.openai.chat_answer import decode_error
from tidegate.dialects.openai.usage import usage_of_answer
from tidegate.dialects.reading import INTEGER, TEXT, TEXT_OR_TEXTS, Fields, Shape
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import Quirks, UnreadableAnswer
from tidegate.errors import BadRequest

_ENCODING: Shape[Literal["float", "base64"]] = Shape(Literal["float", "base64"])
_decode_tokens = msgspec.json.Decoder(list[int | list[int]]).decode


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Vector]


_decode_answer = msgspec.json.Decoder(_Answer).decode


class OpenAIEmbeddings:
    """Front and back; see `neutral.EmbeddingFront` and `neutral.EmbeddingBack`."""

    name = "openai"
    operation = "embeddings"
    fields: dict[str, str] = {"user": "user", "dimensions": "dimensions"}  # noqa: RUF012

    def decode_request(self, body: bytes) -> EmbeddingRequest:
        """Read a caller's request; numbers of tokens are of one tokenizer and cannot be sent on."""
        fields = Fields(body)
        fields.take_raw("model")
        raw = fields.take_raw("input")
        if raw is None:
            raise BadRequest("You must provide 'input'.", param="input")
        if raw[:1] == b"[" and _is_tokens(raw):
            raise BadRequest("This model takes texts, no numbers of tokens.", param="input")
        given = TEXT_OR_TEXTS.read(raw, "input", fields.unread)
        dimensions = fields.take("dimensions", INTEGER)
        if dimensions is not None and dimensions < 1:
            raise BadRequest("'dimensions' must be at least 1.", param="dimensions")
        return EmbeddingRequest(
            texts=check_texts([given] if isinstance(given, str) else given, "input"),
            dimensions=dimensions,
            encoding=fields.take("encoding_format", _ENCODING) or "float",
            user=fields.take("user", TEXT) or "",
            extra=fields.left_over({}),
            unread=fields.unread,
        )

    def encode_answer(
        self, answer: EmbeddingAnswer, request: EmbeddingRequest, model: str, usage: Usage
    ) -> bytes:
        """Write the answer, vectors as asked."""
        as_text = request.encoding == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _packed(vector) if as_text else vector,
            }
            for index, vector in enumerate(answer.vectors)
        ]
        tokens = usage.input_tokens
        return encode_json(
            {
                "object": "list",
                "data": data,
                "model": model,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    def encode_request(
        self, request: EmbeddingRequest, model: str, quirks: Quirks
    ) -> tuple[bytes, list[Loss]]:
        """Write a provider's request; what vectors are for has no field here."""
        losses = Losses()
        body: dict[str, Any] = {
            "model": model,
            "input": request.texts,
            "encoding_format": "float",
            **leftovers(request, quirks, losses),
        }
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.user:
            body["user"] = request.user
        if request.task:
            losses.drop("embedding.task")
        if request.title:
            losses.drop("embedding.title")
        return encode_json(body), losses.listed()

    def decode_answer(self, body: bytes) -> EmbeddingAnswer:
        """Read a provider's answer; vectors may come in any order."""
        try:
            data = _decode_answer(body).data
        except UNREADABLE:
            raise UnreadableAnswer("no list of embeddings") from None
        if all(one.index is not None for one in data):
            data.sort(key=lambda one: one.index or 0)
        return EmbeddingAnswer([one.embedding for one in data], usage_of_answer(body))

    def decode_error(self, status: int, body: bytes) -> WireError:
        """Read a provider's refusal."""
        return decode_error(status, body)


def _is_tokens(raw: bytes) -> bool:
    try:
        return bool(_decode_tokens(raw))
    except UNREADABLE:
        return False


def _packed(vector: list[float]) -> str:
    """Return the base64 of little-endian float32."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode("ascii")


OPENAI_EMBEDDINGS = OpenAIEmbeddings()
