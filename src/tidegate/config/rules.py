"""Rules about more than one setting: names that must exist, circles, fields that go together.

They look at plain data, before it becomes `Settings`, so that one run tells these
problems and those of single fields together. What has the wrong type is passed over here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tidegate.config.provider_kind import Kinds
from tidegate.config.setting_path import SettingPath
from tidegate.config.settings import LIMIT_UNITS, SUPPORTED_UNITS

Problem = tuple[SettingPath, str]

MIN_TOKEN_CHARACTERS = 16


def find_problems(raw: Mapping[str, Any], kinds: Kinds) -> list[Problem]:
    """Return every broken rule in *raw* (a whole configuration with `kind` filled in)."""
    return [
        *_provider_problems(raw, kinds),
        *_target_problems(raw),
        *_fallback_problems(raw),
        *_limit_problems(raw),
        *_limit_name_problems(raw),
        *_key_model_problems(raw),
        *_metrics_problems(raw),
    ]


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean x?`, or the list of what there is, or an empty string."""
    names = list(known)
    near = difflib.get_close_matches(name[:100], names, n=2, cutoff=0.6)
    if near:
        return "; did you mean " + " or ".join(near) + "?"
    if names:
        return "; there is " + ", ".join(sorted(names)[:16]) + (" …" if len(names) > 16 else "")
    return ""


def show_name(value: str) -> str:
    """Return *value* fit for a message: printable, at most 60 characters, in quotes."""
    shown = "".join(char if char.isprintable() else "�" for char in value[:60])
    return f'"{shown}{"…" if len(value) > 60 else ""}"'


def _section(raw: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """Return the entries of a section that are mappings themselves."""
    section = raw.get(name)
    if not isinstance(section, dict):
        return {}
    return {
        key: value
        for key, value in section.items()
        if isinstance(key, str) and isinstance(value, dict)
    }


def _texts(value: object) -> list[tuple[int, str]]:
    if not isinstance(value, (list, tuple)):
        return []
    return [(index, item) for index, item in enumerate(value) if isinstance(item, str)]


def _provider_problems(raw: Mapping[str, Any], kinds: Kinds) -> Iterator[Problem]:
    for name, provider in _section(raw, "providers").items():
        path = ("providers", name)
        kind_name = provider.get("kind")
        if not isinstance(kind_name, str):
            continue
        kind = kinds.get(kind_name)
        if kind is None:
            reason = (
                f"unknown kind {show_name(kind_name)}{suggest(kind_name, kinds)} "
                "(any OpenAI-compatible server: kind: openai-compatible with a base_url)"
            )
            yield (*path, "kind"), reason
            continue
        if kind.base_url is None and provider.get("base_url") is None:
            example = kind.example_url or "http://127.0.0.1:9000/v1"
            reason = f"kind {kind.name} needs one, such as {example}"
            yield (*path, "base_url"), reason
        if kind.base_url == "":
            for field in ("base_url", "api_key", "headers", "proxy"):
                if provider.get(field):
                    yield (*path, field), f"kind {kind.name} is built in and takes none"
        headers = provider.get("headers")
        signs = kind.section and provider.get("api_key") is None
        if (signs or provider.get("api_key") is not None) and isinstance(headers, dict):
            named = kind.auth.startswith("header:") and not signs
            taken = kind.auth.removeprefix("header:") if named else "authorization"
            for header in headers:
                if isinstance(header, str) and header.lower() == taken:
                    yield (*path, "headers", header), "is what api_key is sent in; give one"


def _target_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    providers = _names(raw, "providers")
    for name, model in _section(raw, "models").items():
        targets = model.get("targets")
        if not isinstance(targets, (list, tuple)):
            continue
        for index, target in enumerate(targets):
            path: SettingPath = ("models", name, "targets", index)
            provider: object = None
            if isinstance(target, str):
                provider = target.partition("/")[0] if "/" in target else None
            elif isinstance(target, dict):
                provider, path = target.get("provider"), (*path, "provider")
            if isinstance(provider, str) and provider not in providers:
                yield path, f"unknown provider {show_name(provider)}{suggest(provider, providers)}"


def _fallback_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    known = _names(raw, "models")
    follows: dict[str, list[str]] = {}
    for name, model in _section(raw, "models").items():
        fallbacks = _texts(model.get("fallbacks"))
        follows[name] = [fallback for _, fallback in fallbacks if fallback in known]
        for index, fallback in fallbacks:
            if fallback not in known:
                yield (
                    ("models", name, "fallbacks", index),
                    f"unknown model {show_name(fallback)}{suggest(fallback, known)}",
                )
    for circle in find_circles(follows):
        shown = " → ".join((*circle, circle[0]))
        yield ("models", circle[0], "fallbacks"), f"fallbacks form a circle: {shown}"


def find_circles(follows: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """Return circles in a graph, at least one for each group of names that form any.

    Iterative, as a chain may be as long as the configuration.
    """
    circles: list[tuple[str, ...]] = []
    done: set[str] = set()
    for start in follows:
        if start in done:
            continue
        trail, on_trail = [start], {start}
        branches = [iter(follows.get(start, ()))]
        while branches:
            following = next(branches[-1], None)
            if following is None:
                branches.pop()
                left = trail.pop()
                on_trail.discard(left)
                done.add(left)
            elif following in on_trail:
                circles.append(tuple(trail[trail.index(following) :]))
            elif following not in done:
                trail.append(following)
                on_trail.add(following)
                branches.append(iter(follows.get(following, ())))
    return circles


def _limit_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    for name, limit in _section(raw, "limits").items():
        path = ("limits", name)
        given = [unit for unit in LIMIT_UNITS if limit.get(unit) is not None]
        unsupported = [unit for unit in given if unit not in SUPPORTED_UNITS]
        for unit in unsupported:
            yield (
                (*path, unit),
                (f"limits of {unit} are not supported yet; use {' or '.join(SUPPORTED_UNITS)}"),
            )
        if not given:
            yield path, f"needs an amount: {' or '.join(SUPPORTED_UNITS)}"
        elif len(given) > 1:
            yield path, f"has {' and '.join(given)}; a limit has one amount: write two limits"
        elif given == ["requests"] and limit.get("window") is None:
            yield (*path, "window"), "requests need a window, such as 1m"
        elif given == ["concurrency"]:
            for field in ("window", "burst"):
                if limit.get(field) is not None:
                    yield (*path, field), f"concurrency takes no {field}"


def _limit_name_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    known = _names(raw, "limits")
    places: list[tuple[SettingPath, object]] = [(("default_limits",), raw.get("default_limits"))]
    places += [
        (("keys", name, "limits"), key.get("limits")) for name, key in _section(raw, "keys").items()
    ]
    for path, names in places:
        for index, limit in _texts(names):
            if limit not in known:
                yield (*path, index), f"unknown limit {show_name(limit)}{suggest(limit, known)}"


def _key_model_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    for name, key in _section(raw, "keys").items():
        for index, model in _texts(key.get("models")):
            reason = unusable_model(model, raw)
            if reason:
                yield ("keys", name, "models", index), reason


def unusable_model(model: str, raw: Mapping[str, Any]) -> str | None:
    """Return why no request can ask for *model* under the configuration *raw*, or None."""
    known = _names(raw, "models")
    if model in known:
        return None
    provider, slash, rest = model.partition("/")
    providers = _section(raw, "providers")
    if slash and rest and provider in providers:
        if providers[provider].get("passthrough_models", True) is not False:
            return None
        return f"provider {provider} has passthrough_models: false, and no model has this name"
    return f"unknown model {show_name(model)}{suggest(model, known)}"


def _metrics_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    metrics = raw.get("metrics")
    if not isinstance(metrics, dict):
        return
    if metrics.get("tls") is not None and metrics.get("listen") is None:
        yield ("metrics", "tls"), "needs metrics.listen; server.tls is for the data port"
    wants_token = metrics.get("access") == "token"
    if wants_token and metrics.get("token") is None:
        yield ("metrics", "token"), "access: token needs one: env:NAME or file:PATH"
    if not wants_token and metrics.get("token") is not None:
        yield ("metrics", "access"), "must be token, as a token is given; the page would be open"


def _names(raw: Mapping[str, Any], section: str) -> list[str]:
    entries = raw.get(section)
    return [name for name in entries if isinstance(name, str)] if isinstance(entries, dict) else []
