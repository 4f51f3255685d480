"""The built files of the live view, read once; no path of a request ever reaches the disk."""

from __future__ import annotations

from importlib import resources
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from tidegate.control.admin.security import Refusal

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "woff2": "font/woff2",
}
_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_MISSING: Final = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>Tidegate</title>"
    b"<p>The files of the live view are not in this installation. "
    b"The admin API works: see /api/openapi.json.</p></html>"
)


class _File(NamedTuple):
    data: bytes
    media_type: str
    cache: str


class Pages:
    """Every file below `control/ui`, by its path."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        folder = resources.files("tidegate.control") / "ui"
        index = folder / "index.html"
        if index.is_file():
            self._files[""] = _File(index.read_bytes(), _TYPES["html"], "no-store")
            self._files["index.html"] = self._files[""]
        else:
            self._files[""] = _File(_MISSING, _TYPES["html"], "no-store")
        assets = folder / "assets"
        if assets.is_dir():
            for file in assets.iterdir():
                media_type = _TYPES.get(file.name.rpartition(".")[2])
                if media_type is not None and file.is_file():
                    # Names hold a hash of what is in them: another build has others.
                    self._files[f"assets/{file.name}"] = _File(
                        file.read_bytes(), media_type, _IMMUTABLE
                    )

    async def answer(self, request: Request) -> Response:
        """Answer `GET /` and `/assets/…`."""
        file = self._files.get(request.path_params["path"])
        if file is None:
            raise Refusal(404, "not_found", "There is no such page.")
        return Response(
            file.data, media_type=file.media_type, headers={"cache-control": file.cache}
        )
