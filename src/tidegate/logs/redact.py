"""Masks credentials in text on its way to a log.

No message of ours holds one; this is the net below that promise. It knows the shapes that
secrets have, and the values of the secrets that this process was given. One pass of one pattern
whose parts never overlap, so the time is linear in the text (about 10 µs for a line of 300
characters); it runs for events, never once a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MASK: Final = "***"
LEAST_KNOWN_CHARACTERS: Final = 6
"""Shorter secrets are not looked for by value: `test` is a word, too."""

# A value ends at what ends one in a header, a query, JSON or a shell line.
_VALUE: Final = r"[^\s\"'\\,;&<>(){}\[\]]+"
_NAMES: Final = (
    r"api[_-]?key|x-api-key|x-goog-api-key|access[_-]?token|refresh[_-]?token|auth[_-]?token"
    r"|token|key|secret|client[_-]?secret|password|passwd|pwd|signature|sig|x-amz-signature"
    r"|x-amz-credential|x-amz-security-token"
)
_HEADERS: Final = (
    r"(?:proxy-)?authorization|(?:x-|x-goog-)?api-key|(?:set-)?cookie|x-amz-security-token"
)
_SHAPES: Final = re.compile(
    rf"""
    (?P<keep>
        # Authorization: Bearer …, "x-api-key": "…", b'cookie': b'…'
        (?<![A-Za-z0-9_-])(?:{_HEADERS})["']?[ ]?[:=][ ]?(?:b?["'])?
          (?:(?:bearer|basic|digest|negotiate)[ ]{{1,8}})?(?=[^\s"'\\,;])
        # ?key=…, token=…
        | (?<![A-Za-z0-9])(?:{_NAMES})=(?=[^\s"'\\,;&])
        | (?<![A-Za-z0-9])(?:bearer|basic)[ ]{{1,8}}(?=[A-Za-z0-9._~+/=-]{{6}})
    )
    (?P<value>{_VALUE})
    | (?P<shape>
        (?<![A-Za-z0-9])(?:
            tga?[_-][A-Za-z0-9_-]{{8,}}
            | (?:sk|pk|rk|xai|pplx|nvapi|r8)-[A-Za-z0-9_-]{{8,}}
            | (?:gsk|hf|ghp|gho|ghs|ghu|github_pat|glpat|r8|csk|fw)[_-][A-Za-z0-9_-]{{12,}}
            | xox[abeoprs]-[A-Za-z0-9-]{{8,}}
            | AIza[A-Za-z0-9_-]{{12,}}
            | ya29\.[A-Za-z0-9._-]{{8,}}
            | (?:AKIA|ASIA)[A-Z0-9]{{12,}}
            | eyJ[A-Za-z0-9_-]{{10,}}\.[A-Za-z0-9._-]+
        )
        # https://user:password@host: the host stays
        | (?<=://)[^\s/@"'\\]+(?=@)
        | -----BEGIN[ ][A-Z ]{{0,30}}PRIVATE[ ]KEY-----(?:[A-Za-z0-9+/=\s-]|\\{{1,2}}[nr])*
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)

_known: tuple[str, ...] = ()


def know(secrets: Iterable[str]) -> None:
    """Mask these values too, in place of those of the last call (a reload has others).

    Each is also looked for as JSON writes it.
    """
    global _known  # noqa: PLW0603 (the secrets of one process)
    found = {secret for secret in secrets if len(secret) >= LEAST_KNOWN_CHARACTERS}
    found |= {secret.replace("\\", "\\\\").replace('"', '\\"') for secret in found}
    # The longest first: one may be part of another.
    _known = tuple(sorted(found, key=len, reverse=True))


def redact(text: str) -> str:
    """Return *text* with whatever looks like a credential, or is a known one, as `***`.

    Text that is JSON stays JSON: no quote, backslash or brace is ever masked, but inside a
    known secret.
    """
    for secret in _known:
        if secret in text:
            text = text.replace(secret, MASK)
    return _SHAPES.sub(_masked, text)


def _masked(match: re.Match[str]) -> str:
    return (match["keep"] or "") + MASK
