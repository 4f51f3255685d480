"""How each provider tells amid a stream, whose status was 200, that it has failed."""

from __future__ import annotations

from tests.fakes.strict.bedrock_converse import frame
from tests.fakes.strict.wire import data_event, dumps


def error_event(wire: str, message: str) -> bytes:
    """Return the event in which the provider of *wire* says *message*: it is overloaded."""
    if wire == "openai":
        error = {"message": message, "type": "server_error", "param": None, "code": None}
        return data_event({"error": error})
    if wire == "responses":
        flat = {"code": "server_error", "message": message, "param": None}
        return data_event({"type": "error", "sequence_number": 99, **flat}, "error")
    if wire == "anthropic":
        error = {"type": "overloaded_error", "message": message}
        return data_event({"type": "error", "error": error}, "error")
    if wire == "gemini":
        return data_event({"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}})
    if wire == "bedrock":
        kind = "serviceUnavailableException"
        headers = {":message-type": "exception", ":exception-type": kind}
        return frame(headers, dumps({"message": message}).encode())
    end = {"finish_reason": "ERROR", "error": message}
    return data_event({"type": "message-end", "delta": end}, "message-end")
