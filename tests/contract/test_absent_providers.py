"""A model of a provider that is not configured: 404 for the client, the reason in the log."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.running import RunningGateway

pytestmark = pytest.mark.process

EVENT = "a client asks for a model of a provider that is not configured"


def test_the_log_names_the_provider_and_the_variable_of_its_key(tmp_path: Path) -> None:
    """Once a provider, however often clients ask; the client's own text is not in it."""
    with RunningGateway(tmp_path) as gateway:
        secret = gateway.create_key("app")

        def ask(model: str) -> str:
            request = urllib.request.Request(
                f"{gateway.url}/v1/chat/completions",
                json.dumps({"model": model, "messages": []}).encode(),
                {"Authorization": f"Bearer {secret}"},
            )
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=10)
            with caught.value as error:
                assert error.code == 404
                return error.read().decode()

        for model in ("openai/gpt-secret-name", "openai/other", "groq/x", "nobody/x", "openai"):
            assert "API_KEY" not in ask(model)

        def told() -> list[tuple[str, str]]:
            lines = map(json.loads, gateway.log.read_text().splitlines())
            return [(x["provider"], x["key_variable"]) for x in lines if x["event"] == EVENT]

        deadline = time.monotonic() + 10
        while len(told()) < 2:
            assert time.monotonic() < deadline, gateway.log.read_text()
            time.sleep(0.02)
        assert told() == [("openai", "OPENAI_API_KEY"), ("groq", "GROQ_API_KEY")]
        assert "gpt-secret-name" not in gateway.log.read_text()
