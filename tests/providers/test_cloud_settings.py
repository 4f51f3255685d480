"""Settings of cloud providers: where they lead, what is refused, what the environment adds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tidegate.config import cloud_rules
from tidegate.config.compile import compile_snapshot
from tidegate.config.load import Loaded, load_settings
from tidegate.config.signing import AwsSigning, EntraSigning, GoogleSigning
from tidegate.config.snapshot import ProviderSnapshot, decode_snapshot, encode_snapshot, secrets_of
from tidegate.errors import ConfigError
from tidegate.providers.discover import providers_by_name

ACCOUNT = {"client_email": "a@b.c", "private_key": "-----K-----", "token_uri": "https://t.example"}


def _load(folder: Path, provider: str, env: Mapping[str, str] | None = None) -> Loaded:
    (folder / "tidegate.yaml").write_text(f"providers:\n  x: {{{provider}}}\n")
    return load_settings(None, env or {}, folder, kinds=providers_by_name())


def _provider(
    folder: Path, provider: str, env: Mapping[str, str] | None = None
) -> ProviderSnapshot:
    """Load, compile, and send through the wire to a worker."""
    loaded = _load(folder, provider, env)
    snapshot = compile_snapshot(
        loaded.settings, kinds=providers_by_name(), generation=1, pepper=b"p", data_dir=folder
    )
    arrived = decode_snapshot(encode_snapshot(snapshot))
    assert arrived == snapshot
    for secret in secrets_of(arrived):
        assert secret not in repr(arrived.providers)
    return arrived.providers[0]


def _problem(folder: Path, provider: str, env: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as failed:
        _load(folder, provider, env)
    return str(failed.value)


def test_azure_is_asked_by_its_v1_api(tmp_path: Path) -> None:
    """Whether the base URL has that path already or not; the key travels in `api-key`."""
    for tail in ("", "/", "/openai", "/openai/v1", "/openai/v1/"):
        found = _provider(
            tmp_path, f'kind: azure, base_url: "https://r.openai.azure.com{tail}", api_key: k'
        )
        assert found.base_url == "https://r.openai.azure.com"
        assert found.operations["openai"] == ("/openai/v1/chat/completions",) * 2
        assert found.operations["responses"] == ("/openai/v1/responses",) * 2
        assert (found.auth, found.signing) == ("header:api-key", None)


def test_azure_s_dated_api_has_the_deployment_in_the_path(tmp_path: Path) -> None:
    """Responses are asked without one: the deployment stands in their body."""
    found = _provider(
        tmp_path,
        'kind: azure, base_url: "https://r.openai.azure.com", api_key: k, '
        "azure: {api_version: 2024-10-21}",
    ).operations
    path = "/openai/deployments/{model}/chat/completions?api-version=2024-10-21"
    assert found["openai"] == (path, path)
    assert found["responses"] == ("/openai/responses?api-version=2024-10-21",) * 2


def test_azure_s_environment_is_for_azure_s_hosts(tmp_path: Path) -> None:
    """A key found there goes to no other host, and not beside another credential."""
    env = {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com/"}
    found = _provider(tmp_path, "kind: azure", env)
    assert (found.base_url, found.credential) == ("https://r.openai.azure.com", "k")
    own = 'kind: azure, base_url: "https://r.services.ai.azure.com"'
    assert _provider(tmp_path, own, env).credential == "k"
    for url in (
        "https://evil.example",
        "https://evilopenai.azure.com",
        "http://r.openai.azure.com",
    ):
        assert _provider(tmp_path, f'kind: azure, base_url: "{url}"', env).credential is None


def test_entra_is_found_in_the_environment(tmp_path: Path) -> None:
    """Where there is no key."""
    names = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "hush-1"}
    provider = 'kind: azure, base_url: "https://r.openai.azure.com"'
    signing = _provider(tmp_path, provider, names).signing
    assert isinstance(signing, EntraSigning)
    assert (signing.tenant_id, signing.client_id, signing.client_secret) == ("t", "c", "hush-1")
    keyed = _provider(tmp_path, provider, {**names, "AZURE_OPENAI_API_KEY": "k"})
    assert (keyed.credential, keyed.signing) == ("k", None)


def test_bedrock_is_in_a_region(tmp_path: Path) -> None:
    """China's have a name of their own."""
    env = {
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "hush-1",
        "AWS_SESSION_TOKEN": "hush-2",
    }
    found = _provider(tmp_path, "kind: bedrock, aws: {region: eu-central-1}", env)
    assert found.base_url == "https://bedrock-runtime.eu-central-1.amazonaws.com"
    assert found.signing == AwsSigning("eu-central-1", "AKID", "hush-1", "hush-2")
    found = _provider(tmp_path, "kind: bedrock", {**env, "AWS_REGION": "cn-north-1"})
    assert found.base_url == "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"


@pytest.mark.parametrize(
    "region",
    ["eu-central-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1", "us-iso-east-1",
     "us-isob-east-1", "us-isof-south-1", "eu-isoe-west-1"],
)  # fmt: skip
def test_a_region_is_where_amazon_s_sdk_looks_for_it(tmp_path: Path, region: str) -> None:
    """In each part of its cloud, which have domains of their own."""
    session = pytest.importorskip("botocore.session", reason="botocore: the extra `bedrock`")
    client = session.Session().create_client(
        "bedrock-runtime",
        region_name=region,
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    keys = "access_key_id: AKID, secret_access_key: hush-1"
    found = _provider(tmp_path, f"kind: bedrock, aws: {{region: {region}, {keys}}}")
    assert found.base_url == client.meta.endpoint_url
    assert client.meta.service_model.signing_name == "bedrock"


def test_a_bedrock_key_needs_no_signature(tmp_path: Path) -> None:
    """It travels as a bearer token."""
    env = {"AWS_BEARER_TOKEN_BEDROCK": "hush-1", "AWS_DEFAULT_REGION": "us-east-1"}
    found = _provider(tmp_path, "kind: bedrock", env)
    assert (found.auth, found.credential, found.signing) == ("bearer", "hush-1", None)


def test_the_chain_gets_its_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers start without them; those that are secrets are kept out of the log."""
    monkeypatch.setattr(cloud_rules, "_is_installed", lambda package: True)
    env = {
        "AWS_REGION": "us-east-1",
        "AWS_PROFILE": "work",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container-token",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "OPENAI_API_KEY": "other",
    }
    signing = _provider(tmp_path, "kind: bedrock", env).signing
    assert isinstance(signing, AwsSigning)
    assert dict(signing.environment) == {k: v for k, v in env.items() if k != "OPENAI_API_KEY"}
    assert "container-token" not in repr(signing)


def test_vertex_is_in_a_project_and_a_location(tmp_path: Path) -> None:
    """The project may be the service account's; Claude has paths of its own."""
    (tmp_path / "key.json").write_text(json.dumps({**ACCOUNT, "project_id": "acme"}))
    settings = "google: {location: europe-west4, credentials: key.json}"
    found = _provider(tmp_path, f"kind: vertex, {settings}")
    assert found.base_url == "https://europe-west4-aiplatform.googleapis.com"
    home = "/v1/projects/acme/locations/europe-west4/publishers"
    assert found.operations["gemini"][0] == f"{home}/google/models/{{model}}:generateContent"
    assert [family.prefix for family in found.families] == [
        "claude-",
        "text-embedding-",
        "text-multilingual-embedding-",
        "gemini-embedding-",
    ]
    raw = found.families[0].operations["anthropic"]
    assert raw[1] == f"{home}/anthropic/models/{{model}}:streamRawPredict"
    assert isinstance(found.signing, GoogleSigning)
    assert found.signing.account is not None
    assert json.loads(found.signing.account)["client_email"] == "a@b.c"
    env = {"GOOGLE_CLOUD_LOCATION": "global", "GOOGLE_CLOUD_PROJECT": "other"}
    found = _provider(tmp_path, "kind: vertex", env)
    assert found.base_url == "https://aiplatform.googleapis.com"
    found = _provider(tmp_path, "kind: vertex", {**env, "GOOGLE_CLOUD_LOCATION": "eu"})
    assert found.base_url == "https://aiplatform.eu.rep.googleapis.com"
    assert found.signing is not None


@pytest.mark.parametrize(
    ("provider", "env", "told"),
    [
        (
            "kind: azure",
            {},
            "providers.x.base_url: kind azure needs one, such as https://RESOURCE.openai.azure.com",
        ),
        (
            'kind: azure, base_url: "https://a.example", azure: {tenant_id: t, client_id: c}',
            {},
            "providers.x.azure.client_secret: is needed with tenant_id",
        ),
        (
            'kind: azure, base_url: "https://a.example", api_key: k, '
            "azure: {tenant_id: t, client_id: c, client_secret: s}",
            {},
            "providers.x.api_key: is not needed beside azure.client_secret",
        ),
        (
            'kind: azure, base_url: "https://a.example", headers: {authorization: x}, '
            "azure: {tenant_id: t, client_id: c, client_secret: s}",
            {},
            "providers.x.headers.authorization: is what api_key is sent in",
        ),
        ("kind: bedrock, api_key: k", {}, "providers.x.aws.region: is needed"),
        (
            "kind: bedrock, aws: {access_key_id: A, secret_access_key: s}",
            {},
            "providers.x.aws.region: is needed",
        ),
        (
            "kind: bedrock, aws: {region: us-east-1, access_key_id: A}",
            {},
            "providers.x.aws.secret_access_key: is needed with access_key_id",
        ),
        ("kind: bedrock, aws: {region: 'us east'}", {}, "providers.x.aws.region: must be letters"),
        ("kind: vertex", {}, "providers.x.google.location: is needed; or set GOOGLE_CLOUD"),
        ("kind: vertex, api_key: k", {}, "providers.x.api_key: is none for kind vertex"),
        (
            "kind: vertex, google: {location: global, project: p, credentials: no.json}",
            {},
            "providers.x.google.credentials: cannot read",
        ),
        (
            "kind: vertex, google: {location: global, project: p, credentials: tidegate.yaml}",
            {},
            "is no JSON key of a service account",
        ),
        ("kind: openai, api_key: k, aws: {region: us-east-1}", {}, "x.aws: is not for kind openai"),
    ],
)
def test_a_slip_is_named(tmp_path: Path, provider: str, env: Mapping[str, str], told: str) -> None:
    """By its path, with the way out."""
    assert told in _problem(tmp_path, provider, env)


def test_a_missing_extra_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the check, not at the first request."""
    monkeypatch.setattr(cloud_rules, "_is_installed", lambda package: False)
    told = _problem(tmp_path, "kind: bedrock, aws: {region: us-east-1, profile: work}")
    assert "providers.x.aws.profile: " in told
    assert "pip install 'tidegate[bedrock]'" in told
    told = _problem(tmp_path, "kind: bedrock, aws: {region: us-east-1}")
    assert "pip install 'tidegate[bedrock]'" in told
    told = _problem(tmp_path, "kind: vertex, google: {location: global, project: p}")
    assert "pip install 'tidegate[vertex]'" in told


def test_fixed_keys_need_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core signs by itself."""
    monkeypatch.setattr(cloud_rules, "_is_installed", lambda package: False)
    keys = "access_key_id: AKID, secret_access_key: hush-1"
    loaded = _load(tmp_path, f"kind: bedrock, aws: {{region: us-east-1, {keys}}}")
    assert loaded.warnings == (
        "providers.x.aws.secret_access_key is written in the file; prefer env:NAME or file:PATH",
    )


def test_tokens_in_the_clear_are_warned_of(tmp_path: Path) -> None:
    """A signature may be read by anybody; a token is a credential like a key."""
    entra = "azure: {tenant_id: t, client_id: c, client_secret: env:S}"
    loaded = _load(tmp_path, f'kind: azure, base_url: "http://a.example", {entra}', {"S": "s"})
    assert loaded.warnings == (
        "providers.x: its credential travels unencrypted to http://a.example",
    )


def test_a_key_alone_does_not_offer_what_has_no_address(tmp_path: Path) -> None:
    """An endpoint in the environment does."""
    kinds = providers_by_name()
    env = {"AZURE_OPENAI_API_KEY": "k", "CLOUDFLARE_API_KEY": "k", "AWS_BEARER_TOKEN_BEDROCK": "b"}
    assert set(load_settings(None, env, tmp_path, kinds=kinds).settings.providers) == {"demo"}
    env["AZURE_OPENAI_ENDPOINT"] = "https://r.openai.azure.com/"
    found = load_settings(None, env, tmp_path, kinds=kinds).settings.providers
    assert set(found) == {"azure", "demo"}
