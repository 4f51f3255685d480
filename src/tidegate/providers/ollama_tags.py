"""The models that an Ollama server has, by its own API.

    GET /api/tags → {"models": [{"name": "llama3.2:3b", …}, …]}

Source: Ollama's API documentation, "List local models".
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Final

import msgspec

from tidegate.upstream.answer import UpstreamClient, UpstreamFault

log = logging.getLogger("tidegate.providers")

EXCHANGE_S: Final = 5.0
#: Pauses between attempts: a server that starts beside the gateway may come later.
PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
MAX_MODELS: Final = 1_000
_MAX_BYTES: Final = 4 * 1024 * 1024
_NAME: Final = re.compile(r"[\x21-\x7e]{1,200}")


class _Model(msgspec.Struct):
    name: str


class _Tags(msgspec.Struct):
    models: list[_Model] = []


async def read_tags(
    loop: asyncio.AbstractEventLoop,
    client: UpstreamClient,
    base_path: bytes,
    origin_lines: bytes,
    name: str,
) -> list[str] | None:
    """Return the names of the models of the server *name*; None when it did not tell.

    Bounded: one exchange takes 5 s at most, and there are six of them at most.

    Args:
        loop: The worker's loop.
        client: Sends to the server.
        base_path: Path of its OpenAI-compatible API, such as `/v1`.
        origin_lines: Header lines of each request to it.
        name: The provider's, for the log.
    """
    path = base_path.removesuffix(b"/v1") + b"/api/tags"
    head = b"GET %b HTTP/1.1\r\n%b\r\n" % (path, origin_lines)
    reason = ""
    for pause_s in (*PAUSES_S, 0.0):
        try:
            answer = await client.send(
                head, b"", deadline=loop.time() + EXCHANGE_S, first_byte_s=EXCHANGE_S
            )
            try:
                body = await answer.read(_MAX_BYTES)
                status = answer.status
            finally:
                answer.cancel()
        except UpstreamFault as fault:
            reason = fault.kind
        else:
            if status == 200:
                return _names(body, name)
            reason = f"status {status}"
            if status < 500:
                break
        await asyncio.sleep(pause_s)
    _tell(name, reason)
    return None


def _names(body: bytes, name: str) -> list[str] | None:
    try:
        tags = msgspec.json.decode(body, type=_Tags)
    except msgspec.DecodeError:
        _tell(name, "no list of models")
        return None
    found = dict.fromkeys(model.name for model in tags.models if _NAME.fullmatch(model.name))
    return list(found)[:MAX_MODELS]


def _tell(name: str, reason: str) -> None:
    log.warning(
        "provider's models are not known", extra={"fields": {"provider": name, "reason": reason}}
    )
