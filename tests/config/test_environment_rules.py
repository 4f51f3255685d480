"""What the environment adds, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tidegate.config.load import Loaded

Load = Callable[..., Loaded]
Problems = Callable[..., dict[str, str]]

SECRET = "tg-this-is-a-secret-of-the-test-4711"


def test_without_anything_there_is_the_demo(load: Load) -> None:
    """The first start needs no file, no key of a provider, no network."""
    settings = load().settings
    assert list(settings.providers) == ["demo"]
    assert list(settings.models) == ["demo"]
    assert settings.server.host == "127.0.0.1"
    assert settings.keys == {}


def test_providers_are_found_by_their_variables(load: Load) -> None:
    """With their own address and credential."""
    settings = load(OPENAI_API_KEY="sk-o", GEMINI_API_KEY="g").settings
    assert list(settings.providers) == ["gemini", "openai", "demo"]
    key = settings.providers["openai"].api_key
    assert key is not None
    assert key.reveal() == "sk-o"
    assert key.source == "env:OPENAI_API_KEY"


def test_a_file_with_providers_gets_no_others(load: Load) -> None:
    """What is listed is all that is offered."""
    settings = load("providers: {groq: {api_key: x}}", OPENAI_API_KEY="sk-o").settings
    assert list(settings.providers) == ["groq"]
    assert settings.models == {}


def test_a_file_without_providers_gets_those_found(load: Load) -> None:
    """So a file with one limit is a working file."""
    loaded = load("limits: {a: {requests: 1, window: 1s}}", OPENAI_API_KEY="sk-o")
    assert list(loaded.settings.providers) == ["openai", "demo"]


def test_the_usual_variable_goes_to_the_own_host_only(load: Load) -> None:
    """A changed base URL never inherits a credential that was meant for another host."""
    loaded = load("providers: {openai: {base_url: 'https://evil.example/v1'}}", OPENAI_API_KEY="s")
    assert loaded.settings.providers["openai"].api_key is None
    assert "has no api_key" in loaded.warnings[0]


def test_a_key_of_anthropic_offers_its_models(load: Load) -> None:
    """A developer who has the key exported needs no file."""
    settings = load(ANTHROPIC_API_KEY="a").settings
    assert settings.providers["anthropic"].kind == "anthropic"


def test_capacity_and_refill_rate_become_a_limit_for_every_key(load: Load) -> None:
    """A bucket of 5 that gets 1 a second is burst 5, 1 request per second."""
    settings = load(RATE_LIMITER_CAPACITY="5", RATE_LIMITER_REFILL_RATE="1").settings
    limit = settings.limits["default"]
    assert settings.default_limits == ("default",)
    assert (limit.per, limit.requests, limit.burst) == ("key", 1, 5)
    assert limit.window is not None
    assert limit.window.seconds == 1


@pytest.mark.parametrize(
    ("rate", "requests", "window_s"),
    [("0.5", 1, 2), ("2.5", 5, 2), ("0.01", 1, 100), ("10", 10, 1)],
)
def test_refill_rates_may_be_fractions(
    load: Load, rate: str, requests: int, window_s: float
) -> None:
    """Exactly, not as the nearest whole number."""
    settings = load(RATE_LIMITER_REFILL_RATE=rate).settings
    limit = settings.limits["default"]
    assert limit.window is not None
    assert (limit.requests, limit.window.seconds, limit.burst) == (requests, window_s, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE_LIMITER_CAPACITY", "0"), ("RATE_LIMITER_CAPACITY", "-1"),
        ("RATE_LIMITER_CAPACITY", "9" * 5000), ("RATE_LIMITER_CAPACITY", "٣"),
        ("RATE_LIMITER_REFILL_RATE", "0"), ("RATE_LIMITER_REFILL_RATE", "nan"),
        ("RATE_LIMITER_REFILL_RATE", "1/0"), ("RATE_LIMITER_REFILL_RATE", "1e999999999"),
        ("PROVIDER_TIMEOUT_SECONDS", "soon"), ("PROVIDER_MAX_RETRIES", "11"),
        ("TIDEGATE_PORT", "http"), ("TIDEGATE_WORKERS", "-2"),
    ],
)  # fmt: skip
def test_a_bad_value_is_told_by_the_variable(problems: Problems, name: str, value: str) -> None:
    """There is no setting in the file to point at."""
    assert list(problems(**{name: value})) == [name]


def test_api_keys_become_keys(load: Load) -> None:
    """Separated by commas, blanks dropped, one that stands twice counted once."""
    settings = load(API_KEYS=f" {SECRET} ,,{SECRET}2,{SECRET},").settings
    assert {name: key.secret.reveal() for name, key in settings.keys.items()} == {
        "api-key-1": SECRET,
        "api-key-2": SECRET + "2",
    }


def test_the_published_key_is_warned_about(load: Load) -> None:
    """Everybody who reads the old documentation has it."""
    assert any("replace it" in text for text in load(API_KEYS="sk-gateway-123").warnings)


def test_the_file_wins_over_aliases_and_says_so(load: Load) -> None:
    """An alias fills only what the file leaves out."""
    loaded = load(
        f"keys: {{a: {{secret: {SECRET}}}}}\nlimits: {{}}\nrouting: {{retries: 1}}",
        API_KEYS="x" * 30,
        RATE_LIMITER_CAPACITY="9",
        PROVIDER_MAX_RETRIES="7",
    )
    assert list(loaded.settings.keys) == ["a"]
    assert loaded.settings.limits == {}
    assert loaded.settings.routing.retries == 1
    assert sum("not used: the file has" in text for text in loaded.warnings) == 2


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://localhost:11434", "http://localhost:11434/v1"),
        ("http://localhost:11434/", "http://localhost:11434/v1"),
        ("http://gpu:11434/v1", "http://gpu:11434/v1"),
    ],
)
def test_ollama_base_url_is_found_and_completed(load: Load, url: str, kept: str) -> None:
    """The seed system's value has no `/v1`."""
    settings = load(OLLAMA_BASE_URL=url).settings
    assert settings.providers["ollama"].base_url == kept
    assert settings.models["llama3.1"].targets[0].provider == "ollama"


def test_timeouts_and_retries_fill_what_the_file_leaves_out(load: Load) -> None:
    """For every provider, and for every model."""
    settings = load(
        "providers: {openai: {api_key: x}, groq: {api_key: x, first_byte_timeout: 5s}}",
        PROVIDER_TIMEOUT_SECONDS="60",
        PROVIDER_MAX_RETRIES="0",
    ).settings
    assert settings.providers["openai"].first_byte_timeout.seconds == 60
    assert settings.providers["groq"].first_byte_timeout.seconds == 5
    assert settings.routing.retries == 0


def test_names_without_effect_are_told(load: Load) -> None:
    """Nobody should believe that a Redis or a cache is in use."""
    warnings = load(REDIS_URL="redis://h", CACHE_TTL_SECONDS="60").warnings
    assert [text.split()[0] for text in warnings] == ["REDIS_URL", "CACHE_TTL_SECONDS"]


PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("base_url", "env", "proxy"),
    [
        ("https://api.example.com/v1", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://api.example.com/v1", {"https_proxy": "proxy.example:3128"}, PROXY),
        ("https://api.example.com/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://api.example.com/v1", {"HTTP_PROXY": PROXY + "/"}, PROXY),
        ("http://127.0.0.1:9/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://localhost:9/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://[::1]:9/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://api.example.com", {"HTTP_PROXY": PROXY, "NO_PROXY": "example.com"}, None),
        ("http://api.example.com", {"HTTP_PROXY": PROXY, "NO_PROXY": ".example.com, x"}, None),
        ("http://api.example.com", {"HTTP_PROXY": PROXY, "NO_PROXY": "*"}, None),
        ("http://api.example.com", {"HTTP_PROXY": PROXY, "NO_PROXY": "ample.com"}, PROXY),
        ("http://api.example.com:99", {"HTTP_PROXY": PROXY, "NO_PROXY": "example.com:98"}, PROXY),
        ("http://api.example.com:99", {"HTTP_PROXY": PROXY, "no_proxy": "example.com:99"}, None),
        ("http://10.1.2.3", {"HTTP_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, None),
        ("http://11.1.2.3", {"HTTP_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, PROXY),
    ],
)
def test_proxies_come_from_the_environment(
    load: Load, base_url: str, env: dict[str, str], proxy: str | None
) -> None:
    """As curl reads it; loopback never goes through one."""
    text = f"providers: {{x: {{kind: openai-compatible, base_url: '{base_url}'}}}}"
    found = load(text, **env).settings.providers["x"].proxy
    assert (found.reveal() if found else None) == proxy


def test_a_provider_can_be_kept_off_the_proxy(load: Load) -> None:
    """`proxy: none` wins over the environment."""
    text = "providers: {openai: {api_key: x, proxy: none}}"
    assert load(text, HTTPS_PROXY=PROXY).settings.providers["openai"].proxy is None


def test_a_proxy_that_cannot_be_used_is_never_passed_by(problems: Problems) -> None:
    """Going out directly could be what the proxy is there to prevent."""
    found = problems("providers: {openai: {api_key: x}}", HTTPS_PROXY="socks5://u:pw@h:1")
    assert list(found) == ["HTTPS_PROXY"]
    assert "pw" not in found["HTTPS_PROXY"]
