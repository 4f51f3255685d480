"""The documentation is what the product does: links lead somewhere, blocks run, lists are whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from scripts.reference import PAGES, gateway_errors
from tests.running import RunningGateway

ROOT = Path(__file__).parents[2]
Run = Callable[[str, str], str]

DOCUMENTS = sorted(
    path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md"))
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
_RUNNABLE = re.compile(r"^<!-- runnable -->\n```(\w+)\n(.*?)^```$", re.M | re.S)
_OPTION = re.compile(r"--[a-z][a-z-]+")


def _runnable_blocks() -> list[object]:
    return [
        pytest.param(language, block, id=f"{name}:{number}")
        for name, path in zip(NAMES, DOCUMENTS, strict=True)
        for number, (language, block) in enumerate(_RUNNABLE.findall(path.read_text()), 1)
    ]


def _anchor(heading: str) -> str:
    """Return the anchor that a forge makes of a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def _anchors(path: Path) -> set[str]:
    text = _FENCE.sub("", path.read_text())
    return {_anchor(heading) for heading in re.findall(r"^#+ (.+)$", text, re.M)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_links_lead_to_files_and_headings_that_exist(path: Path) -> None:
    """A reader never meets a dead link; addresses outside the repository are not tried."""
    dead = []
    for link in _LINK.findall(_FENCE.sub("", path.read_text())):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        place, _, anchor = unquote(link).partition("#")
        target = (path.parent / place).resolve() if place else path
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link)
    assert not dead


@pytest.mark.process
@pytest.mark.parametrize(("language", "block"), _runnable_blocks())
def test_blocks_marked_runnable_run(language: str, block: str, reader: Run) -> None:
    """What a reader pastes works, on a fresh gateway, and answers something."""
    output = reader(language, block)
    assert output.strip()
    assert '"error"' not in output


def test_the_readme_names_the_address_of_its_examples_once() -> None:
    """Who has the gateway elsewhere changes one line, and pastes the rest as it is."""
    readme = (ROOT / "README.md").read_text()
    assert len(re.findall(r"^export TIDEGATE_URL=http://127.0.0.1:8000 ", readme, re.M)) == 1
    blocks = _RUNNABLE.findall(readme)
    assert len(blocks) > 3
    assert not [text for _, text in blocks if "127.0.0.1" in text]


@pytest.mark.process
def test_a_key_made_as_the_readme_says_is_one_of_the_gateway(reader: Run) -> None:
    """The command finds the state of the gateway that runs in the same folder."""
    blocks = _RUNNABLE.findall((ROOT / "README.md").read_text())
    block = next(text for _, text in blocks if "keys create" in text)
    secret = reader("sh", block.replace("laptop", "desk")).strip()
    deadline = time.monotonic() + 10
    ask = f'curl -s -o /dev/null -w "%{{http_code}}" -H "Authorization: Bearer {secret}"'
    while reader("sh", f'{ask} "$TIDEGATE_URL/v1/models"') != "200":
        assert time.monotonic() < deadline


@pytest.mark.process
def test_the_first_stream_of_the_readme_is_whole(reader: Run) -> None:
    """The curl line that everybody tries first shows a stream to its end."""
    blocks = _RUNNABLE.findall((ROOT / "README.md").read_text())
    block = next(text for language, text in blocks if '"stream": true' in text)
    events = [line for line in reader("sh", block).splitlines() if line.startswith("data: ")]
    assert events[-1] == "data: [DONE]"
    assert all(json.loads(event.removeprefix("data: ")) for event in events[:-1])


@pytest.mark.process
def test_a_limit_shows_the_headers_that_the_guide_shows(tmp_path: Path) -> None:
    """The guide's example is the answer to the first request under its first limit."""
    guide = (ROOT / "docs/guides/limits.md").read_text()
    shown = re.search(r"```\n(x-ratelimit.*?)```", guide, re.S)
    config = re.search(r"```yaml\n(.*?)```", guide, re.S)
    assert shown is not None
    assert config is not None
    settings = yaml.safe_load(config[1])
    settings["limits"] = {"per-key": settings["limits"]["per-key"]}
    settings["default_limits"] = ["per-key"]
    body = b'{"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}'
    with RunningGateway(tmp_path, yaml.safe_dump(settings)) as gateway:
        request = urllib.request.Request(
            f"{gateway.url}/v1/chat/completions",
            body,
            {"Authorization": f"Bearer {gateway.create_key('reader')}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            headers = {f"{name.lower()}: {value}" for name, value in answer.headers.items()}
    assert set(shown[1].splitlines()) <= headers


@pytest.mark.parametrize("name", sorted(PAGES))
def test_generated_pages_are_up_to_date(name: str) -> None:
    """`make reference` changes nothing."""
    assert (ROOT / "docs/reference" / name).read_text() == PAGES[name]()


def test_every_error_code_is_on_the_page_of_errors() -> None:
    """A code that a client can meet can be looked up."""
    page = (ROOT / "docs/reference/errors.md").read_text()
    codes = {kind.code for kind in gateway_errors()}
    assert len(codes) > 10
    assert not {code for code in codes if f"`{code}`" not in page}


def test_guides_name_only_metrics_that_exist() -> None:
    """An expression of a guide over a metric that is gone would silently show nothing."""
    declared = (ROOT / "docs/reference/metrics.md").read_text()
    families = set(re.findall(r"^## (\w+)$", declared, re.M))
    known = families | {
        f"{name}{end}" for name in families for end in ("_bucket", "_count", "_sum")
    }
    used = set()
    for path in (*ROOT.glob("docs/guides/*.md"), *ROOT.glob("docs/concepts/*.md")):
        used |= set(re.findall(r"\b(?:tidegate|rate_limit|process|python)_\w+", path.read_text()))
    # Prefixes in prose (`rate_limit_`) and module names in commands are not metrics.
    assert {name for name in used if not name.endswith("_")} <= known


def test_documented_options_of_commands_exist() -> None:
    """`tidegate … --option` in a guide is an option of that command."""
    unknown = []
    for path in DOCUMENTS:
        for command, rest in re.findall(
            r"\btidegate (serve|check|keys create|keys list|keys revoke|providers)\b([^\n`|]*)",
            path.read_text(),
        ):
            options = set(_OPTION.findall(rest))
            if options:
                unknown += [(path.name, command, o) for o in options - _options(command)]
    assert not unknown


def _options(command: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", *command.split(), "--help"],
        env={"PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return set(_OPTION.findall(done.stdout))
