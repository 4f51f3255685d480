"""Google Vertex AI: Gemini, and Anthropic's models by names that begin with `claude-`."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.clouds import VertexProvider
from tidegate.providers.spec import Quirks

PROVIDER = VertexProvider(
    name="vertex",
    title="Google Vertex AI",
    base_url="https://{location}-aiplatform.googleapis.com",
    docs_url="https://docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
    checked_on="2026-12-01",
    checked_in="google-genai 3.6.1 and anthropic 2.13.0",
    auth="google",
    env_settings={
        "google.project": ("GOOGLE_CLOUD_PROJECT",),
        "google.location": ("GOOGLE_CLOUD_LOCATION",),
    },
    own_hosts=("googleapis.com",),
    section="google",
    discover=False,
    dialects=("gemini",),
    capabilities=("chat", "embeddings"),
    quirks=Quirks(models_path="", wire=WireQuirks(thinking="budget")),
)
