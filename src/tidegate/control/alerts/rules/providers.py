"""Providers and their models: attempts that fail, money without a price, money for nothing."""

from __future__ import annotations

from tidegate.control.alerts.conditions import Compare, Either
from tidegate.control.alerts.expressions import Events, Increase, Rate, Ratio
from tidegate.control.alerts.rule import AlertRule
from tidegate.metrics.families.requests import MODEL_REQUESTS
from tidegate.metrics.families.upstream import UPSTREAM_REQUESTS
from tidegate.metrics.families.usage import COST, TOKENS, UNPRICED
from tidegate.metrics.families.waste import WASTED_COST, WASTED_TOKENS

#: What is neither the client's mistake (http_4xx) nor its leaving (cancelled).
FAILED_ATTEMPTS = frozenset(
    {"http_429", "http_5xx", "timeout", "connect", "protocol", "cut", "error_event"}
)

#: Our credential that is refused shows as http_4xx, like clients' mistakes, but there all fail.
_NO_ANSWER = FAILED_ATTEMPTS | {"http_4xx"}

_FAILED = frozenset({"failed"})


def _failing(by: str, failed: frozenset[str], floor: float) -> Ratio:
    """Return the share of attempts that failed, where there are more than *floor* a second."""
    return Ratio(
        Rate(UPSTREAM_REQUESTS, window_s=300, match={"outcome": failed}, by=(by,)),
        Rate(UPSTREAM_REQUESTS, window_s=300, match={"outcome": failed | {"ok"}}, by=(by,)),
        floor=floor,
    )


PROVIDER_RULES = (
    AlertRule(
        "TidegateProviderFailing",
        "warning",
        300,
        "More than a tenth of the attempts at a provider fail",
        "{{ $value | humanizePercentage }} of the attempts at {{ $labels.provider }} fail",
        "See why in the outcomes of tidegate_upstream_requests_total: http_429 is the provider's "
        "own limit, connect and timeout its network, http_5xx itself.",
        # At least one attempt in ten seconds, so that one failure at night wakes nobody.
        Compare(_failing("provider", FAILED_ATTEMPTS, 0.1), ">", 0.1),
    ),
    AlertRule(
        "TidegateProviderDown",
        "warning",
        120,
        "Nearly every attempt at a provider fails",
        "{{ $labels.provider }} answers nothing: {{ $value | humanizePercentage }} of the attempts "
        "fail",
        "The provider is down, cannot be reached, or refuses the gateway's credential. Models with "
        "targets elsewhere or with fallbacks go on.",
        # Six attempts in five minutes.
        Compare(_failing("provider", _NO_ANSWER, 0.02), ">", 0.95),
    ),
    AlertRule(
        "TidegateModelFailing",
        "critical",
        120,
        "No target and no fallback of a model answers",
        "Nobody answers for {{ $labels.model }}: {{ $value | humanizePercentage }} of its requests "
        "fail",
        "Every target of this configured model fails, and so do its fallbacks: its clients get "
        "errors.",
        Compare(
            Ratio(
                Rate(MODEL_REQUESTS, window_s=300, match={"outcome": _FAILED}, by=("model",)),
                Rate(
                    MODEL_REQUESTS, window_s=300, match={"outcome": _FAILED | {"ok"}}, by=("model",)
                ),
                floor=0.02,
            ),
            ">",
            0.95,
        ),
    ),
    AlertRule(
        "TidegateModelUnpriced",
        "warning",
        0,
        "A model is used whose price is not known",
        "{{ $labels.model }} at {{ $labels.provider }} has no price: {{ $value | humanize }} "
        "attempts in an hour cost nothing in the books",
        "Its tokens are counted, its cost is not, here and in the ledger.",
        Compare(Events(UNPRICED, window_s=3600, by=("provider", "model")), ">", 0),
    ),
    AlertRule(
        "TidegateWasteHigh",
        "info",
        900,
        "More than a fifth of what is spent is for answers that nobody gets",
        "{{ $value | humanizePercentage }} of what {{ $labels.instance }} spends is for answers "
        "that nobody gets",
        "Clients that leave, retries, fallbacks and cut streams are billed all the same; "
        "tidegate_wasted_cost_usd_total and tidegate_wasted_tokens_total say which.",
        Either(
            Compare(
                Ratio(
                    Increase(WASTED_COST, window_s=3600),
                    Increase(COST, window_s=3600),
                    floor=1.0,  # USD
                ),
                ">",
                0.2,
            ),
            # Models without a price, such as one's own.
            Compare(
                Ratio(
                    Increase(WASTED_TOKENS, window_s=3600),
                    Increase(TOKENS, window_s=3600, match={"type": frozenset({"input", "output"})}),
                    floor=1_000_000.0,
                ),
                ">",
                0.2,
            ),
        ),
    ),
)
