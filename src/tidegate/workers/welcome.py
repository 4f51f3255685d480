"""What `tidegate serve` prints on standard output when it is ready."""

from __future__ import annotations

from tidegate.control.messages import FirstKey, FirstToken
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


_FIRST_VISIT = """\
The admin token of the live view on {url} was made.
It is shown this once; `tidegate admin-token rotate` makes another:

  {token}

"""


def welcome_text(
    url: str, first_key: FirstKey | None, plan: Plan, first_token: FirstToken | None = None
) -> str:
    """Return the first key with a line to try it, the admin token, and the ready line.

    Key and token only when they were made at this start.
    """
    visit = ""
    if first_token is not None:
        visit = _FIRST_VISIT.format(url=first_token.url, token=first_token.token)
    ready = f"tidegate ready on {url}\n"
    if first_key is None:
        return visit + ready
    insecure = "--insecure " if plan.tls else ""
    return (
        visit
        + _FIRST_KEY.format(
            secret=first_key.secret, url=url, model=plan.first_model, insecure=insecure
        )
        + ready
    )
