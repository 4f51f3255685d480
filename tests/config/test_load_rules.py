"""What a configuration may say, and how it is told what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.config.load import Loaded, check_bind, load_settings
from tidegate.config.units import Duration
from tidegate.errors import ConfigError
from tidegate.providers.discover import providers_by_name

Load = Callable[..., Loaded]
Problems = Callable[..., dict[str, str]]

SECRET = "tg-this-is-a-secret-of-the-test-4711"

ACME = "providers: {acme: {kind: openai-compatible, base_url: 'http://127.0.0.1:9/v1'}}\n"


def test_the_documented_example_is_loaded(load: Load) -> None:
    """The block of the public interface, to the letter."""
    loaded = load(
        """
server:    {host: 127.0.0.1, port: 8000, control_port: 8001, workers: auto, data_dir: ./data,
            drain_seconds: 600}
providers:
  acme:    {kind: openai-compatible, base_url: http://127.0.0.1:9000/v1, api_key: env:ACME_KEY}
models:
  fast:    {targets: [{provider: acme, model: acme-large, weight: 1}], fallbacks: [slow]}
  slow:    {targets: [{provider: acme, model: acme-small}]}
limits:
  per-key: {per: key, requests: 60, window: 1m, burst: 10}
  guests:  {per: ip, requests: 5, window: 1s, mode: shadow, on_store_failure: local}
keys:
  ci:      {secret: env:CI_KEY, limits: [per-key], models: [fast], team: build}
stores:    {database: sqlite, shared: none}
metrics:   {access: open}
""",
        ACME_KEY="sk-acme",
        CI_KEY=SECRET,
    )
    settings = loaded.settings
    assert loaded.warnings == ()
    assert settings.providers["acme"].api_key is not None
    assert settings.providers["acme"].api_key.reveal() == "sk-acme"
    assert settings.limits["per-key"].window == Duration(60 * 10**9)
    assert settings.keys["ci"].secret.reveal() == SECRET
    assert settings.server.drain_seconds.seconds == 600


def test_all_problems_are_told_at_once_in_the_order_of_the_file(load: Load) -> None:
    """Wrong types, unknown fields and names that do not exist come together, with lines."""
    text = """
server: {port: "80", hots: x}
limits:
  a: {per: kye, requests: 5, window: 1m}
  b: {requests: 5}
models: {m: {targets: [nowhere/x]}}
keys: {k: {secret: env:NOT_SET, limits: [c]}}
"""
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert [(path, reason.rpartition("(")[2]) for path, reason in caught.value.problems] == [
        ("server.port", "line 2)"),
        ("server.hots", "line 2)"),
        ("limits.a.per", "line 4)"),
        ("limits.b.window", "line 5)"),
        ("models.m.targets[0]", "line 6)"),
        ("keys.k.limits[0]", "line 7)"),
        ("keys.k.secret", "line 7)"),
    ]


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("lmits: {}", "lmits", "unknown field; did you mean limits?"),
        ("server: {prot: 1}", "server.prot", "unknown field; did you mean port?"),
        ("server: 5", "server", "must be a mapping"),
        (
            "server: {port: 65536}",
            "server.port",
            "must be a port: 0 to 65535 (0 takes any free one)",
        ),
        ("server: {port: 8001}", "server.control_port", "is the data port's too; take another"),
        ("server: {workers: 0}", "server.workers", "must be auto or a number from 1 to 256"),
        ("server: {workers: 'on'}", "server.workers", "must be auto or a number from 1 to 256"),
        ("server: {drain_seconds: 2d}", "server.drain_seconds", "must be between 0s and 1d"),
        ("server: {max_headers: 5}", "server.max_headers", "must be at least 16"),
        ("server: {max_headers: 1.5}", "server.max_headers", "must be a whole number"),
        ("server: {max_headers: null}", "server.max_headers", "must be a whole number"),
        ("server: {header_timeout: 0}", "server.header_timeout", "must be between 100ms and 5m"),
        ("server: {max_body_bytes: 2GiB}", "server.max_body_bytes", "must be at most 1073741824"),
        (
            "server: {trusted_proxies: [10.0.0.1/8]}",
            "server.trusted_proxies[0]",
            "must be an IP address or a network such as 10.0.0.0/8",
        ),
        ("server: {trusted_proxies: 10.0.0.0/8}", "server.trusted_proxies", "must be a list"),
        (
            "server: {host: 'a b'}",
            "server.host",
            "must be an IP address or a host name to listen on",
        ),
        ("server: {tls: {certificate: x.pem}}", "server.tls.key", "is required"),
        ("models: {m: {}}", "models.m.targets", "is required"),
        ("models: {m: {targets: []}}", "models.m.targets", "must not be empty"),
        (
            "models: {m: {targets: [x]}}",
            "models.m.targets[0]",
            "must be {provider: …, model: …} or provider/model",
        ),
        (
            "models: {'a b': {targets: [demo/x]}}",
            'models."a b"',
            "must be a model name: visible ASCII, no blanks, at most 200 characters",
        ),
        ("limits: {a: {window: 1m}}", "limits.a", "needs an amount: requests or concurrency"),
        (
            "limits: {a: {requests: 1, concurrency: 1, window: 1m}}",
            "limits.a",
            "has requests and concurrency; a limit has one amount: write two limits",
        ),
        (
            "limits: {a: {tokens: 5, window: 1m}}",
            "limits.a.tokens",
            "limits of tokens are not supported yet; use requests or concurrency",
        ),
        (
            "limits: {a: {usd: 0.5, window: 1m}}",
            "limits.a.usd",
            "limits of usd are not supported yet; use requests or concurrency",
        ),
        ("limits: {a: {concurrency: 5, burst: 2}}", "limits.a.burst", "concurrency takes no burst"),
        ("limits: {a: {requests: 0, window: 1m}}", "limits.a.requests", "must be at least 1"),
        (
            "limits: {a: {requests: true, window: 1m}}",
            "limits.a.requests",
            "must be a whole number",
        ),
        (
            "limits: {a: {requests: 2000000, window: 1s}}",
            "limits.a.requests",
            "is more than a million per second; no gateway sees that",
        ),
        (
            "limits: {a: {requests: 1, window: 1d, burst: 1000}}",
            "limits.a.burst",
            "takes longer than 400 days to come back; take a smaller burst",
        ),
        (
            "limits: {a: {requests: 1, window: 0}}",
            "limits.a.window",
            "must be between 1ms and 366d",
        ),
        (
            "default_limits: [x]\nlimits: {xy: {requests: 1, window: 1}}",
            "default_limits[0]",
            'unknown limit "x"; did you mean xy?',
        ),
        ("default_limits: x", "default_limits", "must be a list"),
        (
            "stores: {shared: 'redis://h'}",
            "stores.shared",
            "a shared store is not supported yet; leave it at none",
        ),
        (
            "metrics: {access: token}",
            "metrics.token",
            "access: token needs one: env:NAME or file:PATH",
        ),
        (
            "metrics: {access: token, token: short}",
            "metrics.token",
            "must be at least 16 ASCII characters without blanks",
        ),
        (
            "metrics: {token: sixteen-or-more-of-them}",
            "metrics.access",
            "must be token, as a token is given; the page would be open",
        ),
        (
            "metrics: {listen: 9464}",
            "metrics.listen",
            "must be host:port, such as 127.0.0.1:9464 or [::1]:9464",
        ),
        (
            "metrics: {listen: '::1:9464'}",
            "metrics.listen",
            "needs brackets around an IPv6 address: [::1]:9464",
        ),
        (
            "metrics: {listen: '127.0.0.1:8000'}",
            "metrics.listen",
            "has the data port; take another",
        ),
        (
            "metrics: {tls: {certificate: a, key: b}}",
            "metrics.tls",
            "needs metrics.listen; server.tls is for the data port",
        ),
        (
            "metrics: {listen: '127.0.0.1:9464', tls: {certificate: /no/such, key: /dev/null}}",
            "metrics.tls.certificate",
            "cannot read /no/such: No such file or directory",
        ),
        (
            "metrics: {networks: [10.0.0.1/8]}",
            "metrics.networks[0]",
            "must be an IP address or a network such as 10.0.0.0/8",
        ),
        (
            "metrics: {access: private, networks: [10.0.0.0/8, 203.0.113.0/24]}",
            "metrics.networks[1]",
            "is no private network, so access: private shuts it out; take access: open",
        ),
        ("keys: {k: {}}", "keys.k.secret", "is required"),
        ("keys: {k: {secret: ''}}", "keys.k.secret", "must not be empty"),
        (
            "keys: {k: {secret: 5}}",
            "keys.k.secret",
            "must be text: env:NAME, file:PATH, or the secret in quotes",
        ),
        (
            "keys: {k: {secret: 'a b'}}",
            "keys.k.secret",
            "must be visible ASCII without blanks, as it travels in a header",
        ),
        ("keys: {k: {secret: file:nowhere}}", "keys.k.secret", None),
        (
            "keys: {k: {secret: x, models: [dmo]}}",
            "keys.k.models[0]",
            'unknown model "dmo"; did you mean demo?',
        ),
        (
            "keys: {k: {secret: x, expires_at: soon}}",
            "keys.k.expires_at",
            "must be a day or moment such as 2027-01-31T12:00:00Z",
        ),
        (
            "keys: {'a b': {secret: x}}",
            'keys."a b"',
            "must be a name: letters, digits, and _ . : @ + -, at most 100 characters",
        ),
        ("providers: {x: {}}", "providers.x.kind", None),
        ("providers: {x: {kind: opnai}}", "providers.x.kind", None),
        ("providers: {x: {kind: openai-compatible}}", "providers.x.base_url", None),
        (
            "providers: {demo: {base_url: 'http://h/v1'}}",
            "providers.demo.base_url",
            "kind demo is built in and takes none",
        ),
        (
            "providers: {openai: {headers: {Host: x}}}",
            "providers.openai.headers.Host",
            "is written by the gateway and cannot be set",
        ),
        (
            "providers: {openai: {api_key: x, headers: {Authorization: y}}}",
            "providers.openai.headers.Authorization",
            "is what api_key is sent in; give one",
        ),
        (
            'providers: {openai: {headers: {x-a: "a\\nb"}}}',
            "providers.openai.headers.x-a",
            "must be one line without control characters",
        ),
        (
            "providers: {openai: {proxy: 'socks5://h:1'}}",
            "providers.openai.proxy",
            "must be an http:// proxy (SOCKS and https:// proxies are not supported)",
        ),
        ("logging: {level: loud}", "logging.level", "must be debug, info, warning or error"),
    ],
)
def test_each_slip_is_named_by_its_path(
    problems: Problems, text: str, path: str, reason: str | None
) -> None:
    """One slip makes one problem, at the setting that has to be changed."""
    found = problems(text)
    assert list(found) == [path]
    if reason is not None:
        assert found[path] == reason


@pytest.mark.parametrize(
    "url",
    [
        "http://u:p@h/v1",
        "http://u@h",
        "https://h/v1?x=1",
        "https://h/v1#x",
        "ftp://h",
        "h/v1",
        "",
        "https://",
        "https:///v1",
        "http://h:0/",
        "http://h:65536",
        "http://h:x",
        "http://h:",
        "//h",
        "http://2130706433/",
        "http://127.1/",
        "http://1.2.3.4.5/",
        "http://[::1",
        "http://[zz]/",
        "http://h/../x",
        "http://h/./x",
        "http://h//x",
        "http://h/%2e%2e",
        "http://h\\x",
        "http://h x",
        "http://h/\x00",
        "http://h\n/",
        "http://-h/",
        "http://h..x/",
        "http://é/",
        " http://h",
        "http://h/v1 ",
        "HTTP://h",
        "http://h@evil/",
        "http://h:80@evil/",
        "https://h/v1\r\nx: y",
        "http://" + "a" * 64 + "/",
        "http://" + "a." * 130 + "/",
    ],
)
def test_a_base_url_is_plain_or_refused(problems: Problems, url: str) -> None:
    """Whatever two parsers could read in two ways would send a credential elsewhere."""
    text = f"providers: {{x: {{kind: openai-compatible, base_url: {json.dumps(url)}}}}}"
    found = problems(text)
    assert list(found) == ["providers.x.base_url"]
    assert "u:p" not in found["providers.x.base_url"]


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("http://LOCALHOST:9000", "http://localhost:9000"),
        ("http://[::1]:9000/v1", "http://[::1]:9000/v1"),
        ("http://my_host-1.internal/a/b.c~d", "http://my_host-1.internal/a/b.c~d"),
    ],
)
def test_a_plain_base_url_is_kept(load: Load, url: str, kept: str) -> None:
    """Only a slash at the end and capitals of the host go."""
    loaded = load(f"providers: {{x: {{kind: openai-compatible, base_url: '{url}'}}}}")
    assert loaded.settings.providers["x"].base_url == kept


@pytest.mark.parametrize("weight", ["0", "-1", "1.5", "'1'", "true"])
def test_weights_are_whole_and_positive(problems: Problems, weight: str) -> None:
    """A target of weight 0 would be a target in name only."""
    text = ACME + f"models: {{m: {{targets: [{{provider: acme, model: x, weight: {weight}}}]}}}}"
    assert list(problems(text)) == ["models.m.targets[0].weight"]


def test_a_circle_of_fallbacks_is_refused_with_the_circle(problems: Problems) -> None:
    """It would try the same models for ever."""
    found = problems(
        ACME
        + """models:
  a: {targets: [acme/x], fallbacks: [b]}
  b: {targets: [acme/x], fallbacks: [c, d]}
  c: {targets: [acme/x], fallbacks: [d]}
  d: {targets: [acme/x], fallbacks: [b]}
"""
    )
    assert all("circle" in reason for reason in found.values())
    assert found["models.b.fallbacks"] == "fallbacks form a circle: b → c → d → b"


def test_a_model_that_falls_back_to_itself_is_a_circle(problems: Problems) -> None:
    """The shortest one."""
    found = problems(ACME + "models: {a: {targets: [acme/x], fallbacks: [a]}}")
    assert found == {"models.a.fallbacks": "fallbacks form a circle: a → a"}


def test_fallbacks_may_meet_again(load: Load) -> None:
    """Two ways to one model are no circle."""
    loaded = load(
        ACME + "models: {a: {targets: [acme/x], fallbacks: [b, c]}, b: {targets: [acme/x], "
        "fallbacks: [d]}, c: {targets: [acme/x], fallbacks: [d]}, d: {targets: [acme/x]}}"
    )
    assert loaded.settings.models["a"].fallbacks == ("b", "c")


def test_a_missing_variable_is_told_with_its_setting(problems: Problems) -> None:
    """Both names are needed: where it is used, and what to set."""
    found = problems("keys: {ci: {secret: env:CI_KEY}}")
    assert found == {"keys.ci.secret": "environment variable CI_KEY is not set"}


def test_a_file_reference_is_relative_to_the_configuration(load: Load, tmp_path: Path) -> None:
    """And loses one newline at its end, as editors add one."""
    (tmp_path / "ci.key").write_text(SECRET + "\n")
    assert load("keys: {ci: {secret: file:ci.key}}").settings.keys["ci"].secret.reveal() == SECRET


def test_a_secret_in_the_file_is_warned_about_and_works(load: Load) -> None:
    """Needed for a first try; not a habit."""
    loaded = load(f"keys: {{ci: {{secret: {SECRET}}}}}")
    assert loaded.settings.keys["ci"].secret.reveal() == SECRET
    assert loaded.warnings == (
        "keys.ci.secret is written in the file; prefer env:NAME or file:PATH",
    )


def test_two_keys_with_one_secret_are_refused(problems: Problems) -> None:
    """Nobody could say which one a request came from."""
    found = problems(f"keys: {{a: {{secret: {SECRET}}}, b: {{secret: {SECRET}}}}}")
    assert found == {"keys.b.secret": "is the same secret as that of key a"}


def test_no_secret_shows_in_representations_warnings_or_errors(load: Load) -> None:
    """Whatever is printed of a configuration, good or bad, is safe to paste."""
    token = "metrics-token-0815-0815"
    text = f"""
providers:
  a: {{kind: openai-compatible, base_url: "http://h/v1", api_key: {SECRET},
       headers: {{x-k: {SECRET}}}, proxy: "http://u:{SECRET}@p:1"}}
keys: {{k: {{secret: {SECRET}x}}}}
metrics: {{access: token, token: {token}}}
"""
    loaded = load(text)
    assert SECRET not in repr(loaded) + str(loaded.settings) + "".join(loaded.warnings)
    assert token not in repr(loaded)
    bad = text.replace("access: token", "acces: token").replace("http://u:", "https://u:")
    bad += f"bogus: {SECRET}\nserver: {{host: {SECRET} , port: {SECRET}, workers: {SECRET}}}\n"
    bad += f"limits: {{a: {{requests: {SECRET}, per: {SECRET}, window: {SECRET}}}}}\n"
    with pytest.raises(ConfigError) as caught:
        load(bad)
    assert len(caught.value.problems) >= 6
    assert SECRET not in str(caught.value)
    assert token not in str(caught.value)


def test_data_dir_starts_at_the_file(tmp_path: Path) -> None:
    """So that every command finds it, wherever it is started."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "g.yaml").write_text("server: {data_dir: ../state}")
    loaded = load_settings(folder / "g.yaml", {}, tmp_path / "x", kinds=providers_by_name())
    assert loaded.settings.server.data_dir.resolve() == tmp_path / "state"


def test_the_file_in_the_working_directory_is_found(tmp_path: Path) -> None:
    """`tidegate.yaml`, and no other name."""
    (tmp_path / "tidegate.yaml").write_text("server: {port: 9}")
    loaded = load_settings(None, {}, tmp_path, kinds=providers_by_name())
    assert (loaded.path, loaded.settings.server.port) == (tmp_path / "tidegate.yaml", 9)


def test_command_line_wins_over_environment_over_file(tmp_path: Path) -> None:
    """The nearer to the person, the stronger."""
    path = tmp_path / "g.yaml"
    path.write_text("server: {port: 1, host: 127.0.0.2, workers: 3}")
    loaded = load_settings(
        path,
        {"TIDEGATE_PORT": "2", "TIDEGATE_WORKERS": "4"},
        tmp_path,
        kinds=providers_by_name(),
        overrides={"server.port": 5},
    )
    server = loaded.settings.server
    assert (server.port, server.workers, server.host) == (5, 4, "127.0.0.2")


def test_overridden_paths_start_at_the_working_directory(tmp_path: Path) -> None:
    """What is typed in a shell is meant from where the shell is."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "g.yaml").write_text("{}")
    loaded = load_settings(
        folder / "g.yaml",
        {},
        tmp_path,
        kinds=providers_by_name(),
        overrides={"server.data_dir": Path("state")},
    )
    assert loaded.settings.server.data_dir == tmp_path / "state"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.example.com"])
def test_a_public_address_needs_a_key(load: Load, host: str) -> None:
    """In the store or in the file; without any, serving is refused with the way out."""
    settings = load(f"server: {{host: '{host}'}}").settings
    with pytest.raises(ConfigError, match="tidegate keys create"):
        check_bind(settings, has_keys=False)
    check_bind(settings, has_keys=True)
    check_bind(load(f"server: {{host: '{host}'}}", API_KEYS=SECRET).settings, has_keys=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(load: Load, host: str) -> None:
    """Nobody else can reach it."""
    check_bind(load(f"server: {{host: '{host}'}}").settings, has_keys=False)


def test_tls_files_must_be_a_pair(problems: Problems, tmp_path: Path) -> None:
    """Found out by `check`, not at midnight by the first handshake."""
    text = "server: {tls: {certificate: c.pem, key: k.pem}}"
    assert set(problems(text)) == {"server.tls.certificate", "server.tls.key"}
    (tmp_path / "c.pem").write_text("no certificate")
    (tmp_path / "k.pem").write_text("no key")
    assert set(problems(text)) == {"server.tls"}


def test_a_credential_over_plain_http_is_warned_about(load: Load) -> None:
    """Except on this machine or a private network."""

    def warnings(url: str) -> tuple[str, ...]:
        provider = f"{{kind: openai-compatible, base_url: '{url}', api_key: env:K}}"
        return load(f"providers: {{x: {provider}}}", K="k").warnings

    assert "unencrypted" in warnings("http://api.example.com/v1")[0]
    for url in (
        "https://api.example.com",
        "http://127.0.0.1:1",
        "http://10.0.0.1",
        "http://ollama",
    ):
        assert warnings(url) == ()
