"""Who sends: attributes that stand once over everything that is exported."""

from __future__ import annotations

import hashlib
import socket

from tidegate import __version__
from tidegate.config.snapshot import Snapshot

SCOPE_NAME = "tidegate"


def resource_of(snapshot: Snapshot, slot: int | None = None) -> dict[str, str]:
    """Return the resource attributes of an instance, or of one worker of it (*slot*).

    `service.instance.id` is the same for all processes of an instance and over restarts; it
    names no secret: the pepper only keeps it from being guessed.
    """
    host = socket.gethostname()
    identity = hashlib.blake2b(
        f"{host}\0{snapshot.data_dir}".encode(),
        digest_size=16,
        key=hashlib.blake2b(snapshot.pepper, digest_size=32).digest(),
        person=b"tidegate-otel-id",
    )
    attributes = {
        "service.version": __version__,
        "service.instance.id": identity.hexdigest(),
        "host.name": host,
        "telemetry.sdk.name": SCOPE_NAME,
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": __version__,
        **dict(snapshot.tracing.resource),
    }
    if slot is not None:
        attributes["tidegate.worker"] = str(slot)
    return attributes
