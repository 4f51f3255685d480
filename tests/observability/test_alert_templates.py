"""Texts of alerts read here as Prometheus writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.observability.test_alert_rules import promtool

from tidegate.control.alerts.templates import filled, labels_of

VALUES = (
    *(0, 1, 9.9999, 59.9, 60, 61.5, 999.9, 1000, 3600, 86_399, 90_061, 1_234_567, 5e9, 7e13),
    *(-1, -0.25, -90, 0.5, 0.072, 0.0123456, 1e-4, 2.5e-8, 100 / 3, 1 / 3),
)
FUNCTIONS = ("humanize", "humanizePercentage", "humanizeDuration")


@pytest.mark.external
def test_numbers_are_written_as_prometheus_writes_them(tmp_path: Path) -> None:
    """Large, small, negative and none at all, by each function."""
    template = " ".join(f"{{{{ $value | {name} }}}}" for name in FUNCTIONS)
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump(
            {
                "groups": [
                    {
                        "name": "g",
                        "rules": [
                            {
                                "alert": "Number",
                                "expr": "x",
                                "annotations": {"text": "{{ $labels.n }}: " + template},
                            }
                        ],
                    }
                ]
            }
        )
    )
    (tmp_path / "tests.yml").write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(tmp_path / "rules.yml")],
                "tests": [
                    {
                        "input_series": [
                            {"series": f'x{{n="{number}"}}', "values": f"{value!r}"}
                            for number, value in enumerate(VALUES)
                        ],
                        "alert_rule_test": [
                            {
                                "eval_time": "0s",
                                "alertname": "Number",
                                "exp_alerts": [
                                    {
                                        "exp_labels": {"n": str(number)},
                                        "exp_annotations": {
                                            "text": f"{number}: " + filled(template, {}, value)
                                        },
                                    }
                                    for number, value in enumerate(VALUES)
                                ],
                            }
                        ],
                    }
                ],
            }
        )
    )
    promtool("test", "rules", tmp_path / "tests.yml")


def test_a_template_that_is_not_understood_here_is_refused() -> None:
    """Better than a text with braces in front of an operator at night."""
    assert labels_of("{{ $labels.a }} and {{ $labels.b }}: {{ $value | humanize }}") == {"a", "b"}
    for text in ("{{ $value }}", "{{ $value | title }}", "{{ $externalURL }}", "{{$labels.a}}"):
        with pytest.raises(ValueError, match="not understood"):
            labels_of(text)
