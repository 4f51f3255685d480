"""All dialects in which a provider can be asked for embeddings, by operation."""

from __future__ import annotations

from tidegate.dialects.embeddings.cohere import COHERE_EMBEDDINGS
from tidegate.dialects.embeddings.gemini import GEMINI_BATCH_EMBEDDINGS
from tidegate.dialects.embeddings.neutral import EmbeddingBack
from tidegate.dialects.embeddings.openai import OPENAI_EMBEDDINGS
from tidegate.dialects.embeddings.vertex import VERTEX_BATCH_EMBED, VERTEX_PREDICT

EMBEDDING_BACKS: dict[str, EmbeddingBack] = {
    back.operation: back
    for back in (
        OPENAI_EMBEDDINGS,
        GEMINI_BATCH_EMBEDDINGS,
        COHERE_EMBEDDINGS,
        VERTEX_PREDICT,
        VERTEX_BATCH_EMBED,
    )
}
