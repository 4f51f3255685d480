"""Which sampling parameters a Claude takes, read off its name.

Since Opus 4.1 a request may set `temperature` or `top_p`, not both; since Opus 4.7, and in all
families after it, neither of them nor `top_k`. The API refuses with 400 what is too much, under
every roof (Bedrock and Vertex too), so what stays is chosen here: `temperature`, which most
callers mean. Source: the API's refusals, and the model cards in the Bedrock user guide.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

#: `claude-opus-4-1-20250805`, `anthropic.claude-sonnet-4-5-20250929-v1:0`, `claude-opus-5`.
_VERSION = re.compile(r"claude-[a-z]+-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_SINCE_ONE = (4, 1)
_SINCE_NONE = (4, 7)


@lru_cache(maxsize=256)  # few names, and a client's own ones push each other out
def sampling_of(model: str) -> Literal["all", "one", "none"]:
    """Return how much of sampling *model* takes: all of it, `temperature` or `top_p`, none."""
    found = _VERSION.search(model)
    if found is None:
        return "all"
    version = (int(found[1]), int(found[2] or 0))
    if version >= _SINCE_NONE:
        return "none"
    return "one" if version >= _SINCE_ONE else "all"
