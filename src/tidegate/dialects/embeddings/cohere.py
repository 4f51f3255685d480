"""Embeddings in Cohere's API, version 2, as a provider speaks it.

    {"model": "m", "texts": ["a"], "input_type": "search_document", "embedding_types": ["float"],
     "output_dimension": 256}
    {"embeddings": {"float": [[0.1, …]]}, "meta": {"billed_units": {"input_tokens": 1}}}

Source: https://docs.cohere.com/reference/embed
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.cohere.wire import COHERE
from tidegate.dialects.embeddings.neutral import EmbeddingAnswer, EmbeddingRequest, leftovers
from tidegate.dialects.encode import encode_json
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import WireError
from tidegate.dialects.openai.usage import MAX_TOKENS
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import Quirks, UnreadableAnswer

#: Gemini's task → what Cohere calls it. The field is required there.
_INPUT_TYPES = {
    "": "search_document",
    "TASK_TYPE_UNSPECIFIED": "search_document",
    "RETRIEVAL_DOCUMENT": "search_document",
    "RETRIEVAL_QUERY": "search_query",
    "CODE_RETRIEVAL_QUERY": "search_query",
    "QUESTION_ANSWERING": "search_query",
    "FACT_VERIFICATION": "search_query",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
}
_BENT = frozenset({"CODE_RETRIEVAL_QUERY", "QUESTION_ANSWERING", "FACT_VERIFICATION"})


class _Vectors(msgspec.Struct):
    float_: list[list[float]] = msgspec.field(name="float")


class _Units(msgspec.Struct):
    input_tokens: float | None = None


class _Meta(msgspec.Struct):
    billed_units: _Units | None = None


class _Answer(msgspec.Struct):
    embeddings: _Vectors
    meta: _Meta | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


class CohereEmbeddings:
    """See `neutral.EmbeddingBack`."""

    name = "cohere"
    operation = "cohere_embed"

    def encode_request(
        self, request: EmbeddingRequest, model: str, quirks: Quirks
    ) -> tuple[bytes, list[Loss]]:
        """Write a provider's request; vectors that nobody says the use of are of documents."""
        losses = Losses()
        passed = leftovers(request, quirks, losses)
        input_type = _INPUT_TYPES.get(request.task)
        if input_type is None:
            losses.drop("embedding.task")
        elif request.task in _BENT:
            losses.bend("embedding.task")
        if request.title:
            losses.drop("embedding.title")
        if request.user:
            losses.drop("user")
        body: dict[str, Any] = {
            "model": model,
            "texts": request.texts,
            "input_type": input_type or _INPUT_TYPES[""],
            "embedding_types": ["float"],
        }
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        return encode_json({**body, **passed}), losses.listed()

    def decode_answer(self, body: bytes) -> EmbeddingAnswer:
        """Read a provider's answer."""
        try:
            answer = _decode_answer(body)
        except UNREADABLE:
            raise UnreadableAnswer("no list of embeddings") from None
        units = None if answer.meta is None else answer.meta.billed_units
        tokens = None if units is None else units.input_tokens
        told = tokens is not None and 0 <= tokens <= MAX_TOKENS
        return EmbeddingAnswer(
            answer.embeddings.float_, Usage(input_tokens=int(tokens or 0)) if told else None
        )

    def decode_error(self, status: int, body: bytes) -> WireError:
        """Read a provider's refusal."""
        return COHERE.decode_error(status, body)


COHERE_EMBEDDINGS = CohereEmbeddings()
