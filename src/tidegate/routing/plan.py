"""Model name → the targets to try, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tidegate.routing.retry import RetryBudget
from tidegate.routing.target import Target


class ModelRoute:
    """One model name that clients use.

    Attributes:
        name: The name; a metric label.
        targets: Its deployments, at least one.
        retries: How often a failed attempt is repeated within this name.
        total_s: Seconds that one request may take over all attempts and fallbacks.
        chain: This route and the routes of its fallbacks, in the order they are tried.
        budget: Keeps retries to a fifth of the requests.
        unsupported: What happens to fields that a target cannot express: `warn`, `drop`, `reject`.
        context_tokens: Context window that any first-choice target has; None when not known.
        max_output_tokens: Answer that any of them may be asked for; None when not known.
    """

    __slots__ = (
        "_weight_sum",
        "budget",
        "chain",
        "context_tokens",
        "max_output_tokens",
        "name",
        "retries",
        "targets",
        "total_s",
        "unsupported",
    )

    def __init__(
        self,
        name: str,
        targets: Sequence[Target],
        *,
        retries: int,
        total_s: float,
        unsupported: str = "warn",
        context_tokens: int | None = None,
        max_output_tokens: int | None = None,
    ) -> None:
        if not targets:
            raise ValueError(f"model {name!r} has no target")
        self.name = name
        self.targets = tuple(targets)
        self.retries = retries
        self.total_s = total_s
        self.chain: tuple[ModelRoute, ...] = (self,)
        self.budget = RetryBudget()
        self.unsupported = unsupported
        self.context_tokens = context_tokens or _least(
            [target.context_tokens for target in self.targets]
        )
        self.max_output_tokens = max_output_tokens or _least(
            [target.max_output_tokens for target in self.targets]
        )
        self._weight_sum = sum(target.weight for target in targets)

    def order(self, chance: Callable[[], float]) -> Sequence[Target]:
        """Return all targets, the first drawn by weight, then the others likewise.

        *chance* gives numbers in [0, 1).
        """
        if len(self.targets) == 1:
            return self.targets
        left = list(self.targets)
        weight_left = self._weight_sum
        ordered = []
        while left:
            mark = chance() * weight_left
            for index, target in enumerate(left):
                mark -= target.weight
                if mark < 0 or index == len(left) - 1:
                    break
            ordered.append(left.pop(index))
            weight_left -= ordered[-1].weight
        return ordered


def _least(numbers: Sequence[int | None]) -> int | None:
    """Return the smallest; None where one is not known, as it may be smaller still."""
    known = [number for number in numbers if number is not None]
    return min(known) if len(known) == len(numbers) else None


def link_fallbacks(routes: dict[str, ModelRoute], fallbacks: dict[str, Sequence[str]]) -> None:
    """Set every route's `chain`: itself, then its fallbacks depth first, none twice.

    Raises ValueError on a cycle or an unknown name (the configuration has refused both
    before; here they would mean endless attempts).
    """

    def walk(name: str, path: tuple[str, ...], found: dict[str, ModelRoute]) -> None:
        if name in path:
            raise ValueError("fallbacks form a circle: " + " → ".join((*path, name)))
        if name not in routes:
            raise ValueError(f"fallback {name!r} is not a configured model")
        found.setdefault(name, routes[name])
        for following in fallbacks.get(name, ()):
            walk(following, (*path, name), found)

    for name, route in routes.items():
        found: dict[str, ModelRoute] = {}
        walk(name, (), found)
        route.chain = tuple(found.values())
