"""What `tidegate serve` prints on standard output when it is ready."""

from __future__ import annotations

from tidegate.control.messages import FirstKey
from tidegate.workers.plan import Plan

_FIRST_KEY = """\
A first API key was made. It is shown this once; more with `tidegate keys create`:

  {secret}

Try it:

  curl -N {insecure}{url}/v1/chat/completions \\
    -H "Authorization: Bearer {secret}" -H "Content-Type: application/json" \\
    -d '{{"model": "{model}", "stream": true,
         "messages": [{{"role": "user", "content": "Hello"}}]}}'

"""


def welcome_text(url: str, first_key: FirstKey | None, plan: Plan) -> str:
    """Return the first key with a line to try it, if one was made, and the ready line."""
    ready = f"tidegate ready on {url}\n"
    if first_key is None:
        return ready
    insecure = "--insecure " if plan.tls else ""
    return (
        _FIRST_KEY.format(
            secret=first_key.secret, url=url, model=plan.first_model, insecure=insecure
        )
        + ready
    )
