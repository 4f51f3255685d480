"""Four workers, killed again and again: nothing refused, nothing lost, nothing over a limit."""

from __future__ import annotations

from pathlib import Path

import pytest
from kill_load import check, ledger_rows, observe
from tests.fakes.openai_upstream import KEY, OpenAIUpstream
from tests.running import RunningGateway

pytestmark = pytest.mark.process

WIDE, NARROW = "tg-kill-wide-0123456789", "tg-kill-narrow-0123456789"
CONFIG = """
providers:
  acme: {{kind: openai-compatible, base_url: "{url}", api_key: env:ACME_KEY}}
models:
  plain: {{targets: [{{provider: acme, model: plain}}]}}
limits:
  wide: {{per: key, requests: 1000000, window: 1m}}
  narrow: {{per: key, requests: {amount}, window: 1m, burst: {burst}}}
keys:
  wide: {{secret: env:WIDE_KEY, limits: [wide]}}
  narrow: {{secret: env:NARROW_KEY, limits: [narrow]}}
"""
ENVIRONMENT = {"ACME_KEY": KEY, "WIDE_KEY": WIDE, "NARROW_KEY": NARROW}


@pytest.mark.timeout(120)
async def test_counts_limits_and_rows_are_exact_while_workers_are_killed(tmp_path: Path) -> None:
    """The page lies between what clients saw and that plus what was in flight at the kills."""
    amount, burst = 100, 20
    with OpenAIUpstream() as upstream:
        config = CONFIG.format(url=upstream.url, amount=amount, burst=burst)
        gateway = RunningGateway(tmp_path, config, workers=4, environment=ENVIRONMENT)
        with gateway:
            seen = await observe(
                gateway, [WIDE, WIDE, WIDE, NARROW], clients=64, duration_s=10, kill_every_s=0.8
            )
            page = gateway.page()
        rows = ledger_rows(gateway.data_dir)
    assert check(seen, page, rows) == []
    assert seen.kills >= 8
    assert seen.scrapes >= 20
    assert seen.statuses[200] > 500
    times = seen.admitted_at
    assert len(times) >= burst * 0.8
    for first in range(len(times)):
        for last in range(first, len(times)):
            # Clients see an answer a little after it was admitted: half a second is allowed for.
            elapsed_s = times[last] - times[first] + 0.5
            assert last - first + 1 <= burst + amount * elapsed_s / 60
