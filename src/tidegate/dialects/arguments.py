"""A call's arguments that come in pieces, and whether they are whole.

Asking after each piece must not mean reading all of them again: a model writes whole files into
one argument. So brackets are counted piece by piece, and JSON is read once they are even.
"""

from __future__ import annotations

import re

from tidegate.dialects.encode import json_object

_SIGNS = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)


class ArgumentPieces:
    """The arguments of one call as far as they have come.

    Attributes:
        pieces: In order.
    """

    __slots__ = ("_depth", "_escaped", "_in_text", "_is_object", "_looked_at", "_whole", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._looked_at = 0
        self._depth = 0
        self._in_text = False
        self._escaped = False  # a piece ended amid an escape
        #: Whether this can still be an object; None as long as all is blank.
        self._is_object: bool | None = None
        self._whole = False

    def add(self, piece: str) -> None:
        """Take one more piece."""
        self.pieces.append(piece)

    def text(self) -> str:
        """Return all of it."""
        return "".join(self.pieces)

    def is_whole(self) -> bool:
        """Whether it is a JSON object as it stands; nothing but blanks is an empty one."""
        if self._looked_at == len(self.pieces):
            return self._whole or (self._is_object is None and bool(self.pieces))
        for piece in self.pieces[self._looked_at :]:
            self._look_at(piece)
        self._looked_at = len(self.pieces)
        if self._is_object is None:
            return True
        if self._is_object and not self._whole and self._depth == 0 and not self._in_text:
            self._whole = json_object(self.text()) is not None
            self._is_object = self._whole  # brackets that are even once and no JSON never will be
        return self._whole

    def _look_at(self, piece: str) -> None:
        if not piece.strip():
            if not self._in_text:
                return
        elif self._is_object is None:
            self._is_object = piece.lstrip()[0] == "{"
        elif self._whole:
            self._whole = self._is_object = False  # something follows the object
        if not self._is_object or not piece:
            return
        start = 1 if self._escaped else 0
        self._escaped = False
        for found in _SIGNS.finditer(piece, start):
            sign = found[0]
            if sign[0] == "\\":
                self._escaped = len(sign) == 1
            elif sign == '"':
                self._in_text = not self._in_text
            elif not self._in_text:
                self._depth += 1 if sign in "{[" else -1
