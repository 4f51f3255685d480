"""The recording rules: what they store for instances that are busy, idle, ill, or just begun."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from scripts.alert_rules import RULES
from tests.observability.alert_case import Series
from tests.observability.test_alert_rules import promtool

pytestmark = pytest.mark.external

OUTCOME = "tidegate_request_outcomes_total"


def stored(tmp_path: Path, series: dict[str, str], wanted: dict[str, dict[str, float]]) -> None:
    """Check what the rules named in *wanted* hold for each instance after ten minutes."""
    tests = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": Series.parse(name, values).selector, "values": values}
                    for name, values in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": record,
                        "eval_time": "10m",
                        "exp_samples": [
                            {"labels": Series.parse(record + labels, "").selector, "value": value}
                            for labels, value in samples.items()
                        ],
                    }
                    for record, samples in wanted.items()
                ],
            }
        ],
    }
    path = tmp_path / "records.yml"
    path.write_text(yaml.safe_dump(tests))
    promtool("test", "rules", path)


def test_shares_of_limits_are_numbers_idle_or_not(tmp_path: Path) -> None:
    """An instance that is asked nothing refuses nobody; it is not NaN."""
    stored(
        tmp_path,
        {
            'rate_limit_allowed_total{instance="busy"}': "0+3x40",
            'rate_limit_blocked_total{instance="busy"}': "0+1x40",
            'rate_limit_allowed_total{instance="idle"}': "5x40",
            'rate_limit_blocked_total{instance="idle"}': "2x40",
            'rate_limit_allowed_total{instance="closed"}': "0x40",
            'rate_limit_blocked_total{instance="closed"}': "0+1x40",
        },
        {
            "instance:rate_limit_success:percent_rate5m": {
                '{instance="busy"}': 75,
                '{instance="idle"}': 100,
                '{instance="closed"}': 0,
            },
            "instance:rate_limit_blocked:ratio_rate5m": {
                '{instance="busy"}': 0.25,
                '{instance="idle"}': 0,
                '{instance="closed"}': 1,
            },
        },
    )


def test_success_is_whole_where_nothing_has_failed(tmp_path: Path) -> None:
    """Neither the first failure nor the first request need be there for a number."""
    streams = f'{OUTCOME}{{endpoint="e",stream="true"'
    stored(
        tmp_path,
        {
            f'{streams},instance="ill",outcome="ok"}}': "0+3x40",
            f'{streams},instance="ill",outcome="stream_cut"}}': "0+1x40",
            f'{streams},instance="well",outcome="ok"}}': "0+3x40",
            'rate_limit_allowed_total{instance="ill"}': "0+4x40",
            'rate_limit_allowed_total{instance="well"}': "0+3x40",
            'rate_limit_allowed_total{instance="new"}': "0x40",
        },
        {
            "instance:tidegate_request_success:ratio_rate5m": {
                '{instance="ill"}': 0.75,
                '{instance="well"}': 1,
                '{instance="new"}': 1,
            },
        },
    )


def test_objectives_are_those_of_all_instances_together(tmp_path: Path) -> None:
    """A share is of the sum, not the mean of shares; without a failure it is zero."""
    name = f'{OUTCOME}{{%s,stream="true",outcome="%s"}}'
    series = {
        name % ('instance="large",endpoint="e"', "ok"): "0+90x40",
        name % ('instance="small",endpoint="e"', "ok"): "0+5x40",
        name % ('instance="small",endpoint="e"', "upstream_error"): "0+5x40",
        name % ('job="other",endpoint="e"', "ok"): "0+9x40",
    }
    path = tmp_path / "objectives.yml"
    record = "job:tidegate_availability_failures:ratio_rate"
    tests = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": Series.parse(text, values).selector, "values": values}
                    for text, values in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": f"round({record}{window}, 0.001)",
                        "eval_time": "10m",
                        "exp_samples": [
                            {"labels": '{job="llm_gateway"}', "value": 0.05},
                            {"labels": '{job="other"}', "value": 0},
                        ],
                    }
                    for window in ("5m", "30m", "1h")
                ],
            }
        ],
    }
    path.write_text(yaml.safe_dump(tests))
    promtool("test", "rules", path)
