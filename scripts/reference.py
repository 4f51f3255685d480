"""Write the generated pages of docs/reference from the code: `make reference`."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import tidegate
from tidegate.config.reference import render_reference
from tidegate.control.admin import reference as admin_reference
from tidegate.edge.rules import RULES
from tidegate.errors import GatewayError
from tidegate.metrics import reference as metrics_reference
from tidegate.pipeline.failure import UpstreamRefusal
from tidegate.providers.discover import providers_by_name
from tidegate.providers.listing import render as render_providers

FOLDER = Path(__file__).parent.parent / "docs" / "reference"

_ERRORS_HEAD = """\
# Errors

<!-- Written by `make reference` from the errors in the code; change them there. -->

An error is answered in the shape of the API that was asked. OpenAI's:

```json
{"error": {"message": "…", "type": "…", "param": "model", "code": "model_not_found"}}
```

`POST /api/v1/chat` answers `{"detail": "…"}`.
Each answer has an `x-request-id`; the log line of the request has it too. Health and metrics, and
requests that are [refused before they are read](#refused-before-a-request-is-read), have no line;
the latter are only counted, in `tidegate_edge_refusals_total`.

`code` is stable.
429 has `retry-after` in whole seconds and `retry-after-ms`; others have them if a time is known.
"no" under "retry" is sent as `x-should-retry: false`: the same request would fail again.

A stream that has begun cannot change its status: its last event is the error, without `[DONE]`.

| status | code | type | retry | when |
|---:|---|---|---|---|
"""

_PASSED_ON = """
A body over `server.max_body_bytes` is `body_too_large`, announced up front or not;
`request_too_large` is the same for one that began under a higher cap, which a reload then lowered.

## From the provider

A provider's 400, 404, 413, 422 and 429 reach the client with their status and body
(`upstream_refused` in the log).
Its 401 and 403 do not: they are about the gateway's credential, and become 502, with the reason in
the gateway's log.

## Refused before a request is read

A connection that breaks a rule of HTTP is answered and closed.
Codes of these refusals, in the same shape:

| status | code | what is wrong |
|---:|---|---|
"""


def gateway_errors() -> list[type[GatewayError]]:
    """Return all errors of the package that can reach a client, by status and code."""
    for module in pkgutil.walk_packages(tidegate.__path__, "tidegate."):
        # Migrations run when they are imported; `__main__` would start the program.
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return sorted(set(_descendants(GatewayError)), key=lambda kind: (kind.status, kind.code))


def _descendants(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def render_errors() -> str:
    """Return docs/reference/errors.md."""
    rows: dict[tuple[int, str], str] = {}
    for kind in gateway_errors():
        if kind is UpstreamRefusal:
            continue  # its status is the provider's
        summary = " ".join((kind.__doc__ or "").partition("\n\n")[0].split())
        # The status has a column of its own; what follows the first clause is for programmers.
        meaning = re.split(r"[.;] |\.$", re.sub(r" \(\d{3}[^)]*\)", "", summary))[0] + "."
        retry = {True: "yes", False: "no", None: "may help" if kind.status >= 408 else ""}
        rows.setdefault(
            (kind.status, kind.code),
            f"| {kind.status} | `{kind.code}` | `{kind.kind}` "
            f"| {retry[kind.should_retry]} | {meaning} |",
        )
    refusals = [f"| {r.status} | `{r.name}` | {r.refuses} |" for r in RULES.values()]
    return _ERRORS_HEAD + "\n".join(rows.values()) + "\n" + _PASSED_ON + "\n".join(refusals) + "\n"


PAGES = {
    "admin-api.md": admin_reference.render,
    "config.md": render_reference,
    "errors.md": render_errors,
    "metrics.md": metrics_reference.render,
    "providers.md": lambda: render_providers(providers_by_name().values()),
}
"""Page → the function that renders it."""


def main() -> None:
    """Write every page."""
    for name, render in PAGES.items():
        (FOLDER / name).write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
