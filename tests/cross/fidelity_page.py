"""The page that says what gets lost between an SDK and a provider, from a run of the matrix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.cross.matrix import BACKS, FRONTS, Cell
from tests.cross.seen import SCENARIOS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "fidelity.md"
_FRONT_TITLES = {
    "openai": "OpenAI Chat Completions (`openai`)",
    "responses": "OpenAI Responses (`openai`)",
    "anthropic": "Anthropic Messages (`anthropic`)",
    "gemini": "Gemini generateContent (`google-genai`)",
}
_BACK_TITLES = {
    "openai": "Chat Completions",
    "responses": "Responses",
    "anthropic": "Messages",
    "gemini": "Gemini",
    "bedrock": "Bedrock Converse",
    "cohere": "Cohere Chat",
}
_HEAD = """\
# What gets lost between an SDK and a provider

Written by `.venv/bin/python scripts/fidelity_matrix.py` from the tests themselves: each SDK
plays each scenario through a real gateway against each provider's format, which refuses what the
real one refuses. A column is what the provider speaks.

- **exact**: all that the request says arrived, all that the answer says was seen.
- A field is listed where the provider has no place for it: the request went on without it, or
  (**≈**) with the nearest thing that there is. Each of them is named in the answer's header
  `x-tidegate-fidelity`, in the log, and in `tidegate_fidelity_total`.
- **passed**: the provider speaks the SDK's own format, so bytes pass through.

What is lost in the answer of a stream comes after the header: it is in the log and the metric.
A model with `unsupported: reject` refuses a request that would lose a field. See
[any SDK, any model](../guides/dialects.md).

The scenarios: `text` and `stream` set every sampling parameter that the SDK has; `tools` forces
one strict tool and is answered by two parallel calls; `tool result` sends a call and its result
back, a failed one where the SDK can say so; `image` is inline, `image url` is fetched by the
provider; `schema` is a structured answer; `reasoning` asks for thinking, `reasoning back` sends
the answer's thinking and its signature back in the next turn; `thinking loop` answers a call that
thinking led to, and the provider wants its own signature back byte for byte (`thinking loop
stream`: the call came in a stream); `error` and `429` are the provider's refusals, asked whole or
as a stream, `error first` a stream whose first event is an error, `error amid` one that ends in
one; `cancel` is a client that leaves.
"""


def render(cells: Mapping[tuple[str, str, str], Cell]) -> str:
    """Return the page of a whole run."""
    lines = [_HEAD]
    for front in FRONTS:
        lines.append(f"## {_FRONT_TITLES[front]}\n")
        lines.append("| | " + " | ".join(_BACK_TITLES[back] for back in BACKS) + " |")
        lines.append("|---" * (len(BACKS) + 1) + "|")
        for scenario in SCENARIOS:
            shown = [_cell(front == back, cells[front, back, scenario]) for back in BACKS]
            lines.append(f"| {scenario} | " + " | ".join(shown) + " |")
        lines.append("")
    return "\n".join(lines)


def table(cells: Mapping[tuple[str, str, str], Cell]) -> str:
    """Return a run as a table of signs, for a terminal."""
    lines = [f"{'':28}" + " ".join(f"{back:12}" for back in BACKS)]
    for front in FRONTS:
        for scenario in SCENARIOS:
            signs = [_sign(cells[front, back, scenario]) for back in BACKS]
            lines.append(f"{front:10}{scenario:18}" + " ".join(f"{sign:12}" for sign in signs))
    return "\n".join(lines)


def _sign(cell: Cell) -> str:
    if cell.refused:
        return "refused"
    return f"ok, {len(cell.losses)} named" if cell.losses else "ok"


def _cell(is_same: bool, cell: Cell) -> str:
    if cell.refused:
        return f"refused: {cell.refused}"
    if is_same:
        return "passed"
    if not cell.losses:
        return "exact"
    return "<br>".join(
        f"{'≈ ' if kind == 'approximated' else ''}`{path}`" for path, kind in cell.losses
    )
