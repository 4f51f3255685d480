"""Azure's own identities in place of a secret, through a real gateway, to a strict fake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import openai
import pytest
from cloud_fakes import TEXT, Azure
from test_cloud_settings import _problem, _provider
from tests.running import RunningGateway

from tidegate.config.signing import EntraSigning, ManagedIdentitySigning

KEY = "tg-cloud-tests-0123456789"
PLACE = 'kind: azure, base_url: "https://r.openai.azure.com"'


def _machine(azure: Azure, folder: Path) -> tuple[str, dict[str, str]]:
    return (
        f"identity: managed, client_id: {azure.CLIENT}",
        {"AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.url},
    )


def _app(azure: Azure, folder: Path) -> tuple[str, dict[str, str]]:
    return (
        f"identity: managed, client_id: {azure.CLIENT}",
        {"IDENTITY_ENDPOINT": f"{azure.url}/msi/token", "IDENTITY_HEADER": azure.IDENTITY_HEADER},
    )


def _pod(azure: Azure, folder: Path) -> tuple[str, dict[str, str]]:
    (folder / "assertion").write_text(azure.ASSERTION + "\n")
    return (
        f'identity: workload, authority: "{azure.url}"',
        {
            "AZURE_TENANT_ID": azure.TENANT,
            "AZURE_CLIENT_ID": azure.CLIENT,
            "AZURE_FEDERATED_TOKEN_FILE": str(folder / "assertion"),
        },
    )


def _config(azure: Azure, settings: str, more: str = "") -> str:
    return f"""
providers:
  azure: {{kind: azure, base_url: "{azure.url}", azure: {{{settings}}}{more}}}
models:
  alone: {{targets: [azure/gpt-5], retries: 0}}
keys:
  sdk: {{secret: env:SDK_KEY}}
"""


def _ask(gateway: RunningGateway) -> str | None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        answer = client.chat.completions.create(
            model="alone", messages=[{"role": "user", "content": "hi"}]
        )
    return answer.choices[0].message.content


@pytest.mark.process
@pytest.mark.parametrize("given", [_machine, _app, _pod])
def test_a_token_comes_from_where_this_runs(
    tmp_path: Path, given: Callable[[Azure, Path], tuple[str, dict[str, str]]]
) -> None:
    """A machine's, an app's and a pod's: each asked as the platform says, once for all requests."""
    with Azure() as azure:
        assert isinstance(azure, Azure)
        settings, environment = given(azure, tmp_path)
        config = _config(azure, settings)
        with RunningGateway(
            tmp_path, config, environment={**environment, "SDK_KEY": KEY}
        ) as gateway:
            assert [_ask(gateway), _ask(gateway)] == [TEXT, TEXT]
            written = gateway.log.read_text() + "\n".join(gateway.output)
        assert len(azure.issued) == 1
        assert not azure.refusals
        for secret in (*azure.issued, azure.IDENTITY_HEADER, azure.ASSERTION):
            assert secret not in written


@pytest.mark.process
def test_a_machine_s_endpoint_is_asked_past_the_proxy(tmp_path: Path) -> None:
    """It knows who asks by where a request comes from; the provider is behind the proxy."""
    with Azure() as azure:
        assert isinstance(azure, Azure)
        settings, environment = _machine(azure, tmp_path)
        config = _config(azure, settings, ', proxy: "http://127.0.0.1:9"')
        with (
            RunningGateway(
                tmp_path, config, environment={**environment, "SDK_KEY": KEY}
            ) as gateway,
            pytest.raises(openai.InternalServerError),
        ):
            _ask(gateway)
        assert len(azure.issued) == 1
        assert not [path for path in azure.paths if "chat" in path]


@pytest.mark.process
def test_a_machine_without_an_identity_is_told_of(tmp_path: Path) -> None:
    """By the code of the refusal; the request fails as if the provider could not be reached."""
    with Azure() as azure:
        assert isinstance(azure, Azure)
        azure.is_down = True
        settings, environment = _machine(azure, tmp_path)
        config = _config(azure, settings)
        with RunningGateway(
            tmp_path, config, environment={**environment, "SDK_KEY": KEY}
        ) as gateway:
            with pytest.raises(openai.InternalServerError) as failed:
                _ask(gateway)
            log = gateway.log.read_text()
    assert failed.value.status_code == 502
    assert "the identity endpoint answered 400 (invalid_request)" in log


def test_a_machine_asks_its_metadata_service(tmp_path: Path) -> None:
    """At the address that all of Azure's machines have; a key in the environment is left alone."""
    env = {"AZURE_OPENAI_API_KEY": "k", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}
    found = _provider(tmp_path, f"{PLACE}, azure: {{identity: managed}}", env)
    assert found.credential is None
    assert found.signing == ManagedIdentitySigning(
        "http://169.254.169.254/metadata/identity/oauth2/token",
        "https://cognitiveservices.azure.com",
    )


def test_a_workload_may_be_named_in_the_file(tmp_path: Path) -> None:
    """What the platform's variables say is for what the file leaves out."""
    env = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_FEDERATED_TOKEN_FILE": "/x"}
    settings = "azure: {identity: workload, client_id: mine, token_file: proof}"
    signing = _provider(tmp_path, f"{PLACE}, {settings}", env).signing
    assert isinstance(signing, EntraSigning)
    assert (signing.tenant_id, signing.client_id, signing.client_secret) == ("t", "mine", "")
    assert signing.token_file == str(tmp_path / "proof")


@pytest.mark.parametrize(
    ("settings", "env", "told"),
    [
        ("identity: managed}, api_key: k", {}, "x.api_key: is not needed beside azure.identity"),
        ("identity: managed, tenant_id: t}", {}, "x.azure.tenant_id: is not for identity: managed"),
        ("identity: workload, client_secret: s}", {}, "client_secret: is not for identity: work"),
        ("identity: workload}", {}, "x.azure.token_file: is needed for identity: workload; or set"),
        ("token_file: a}", {}, "x.azure.token_file: is for identity: workload"),
        ("identity: other}", {}, "x.azure.identity: "),
        (
            "identity: managed}",
            {"IDENTITY_ENDPOINT": "http://localhost:40342/x"},
            "x.azure.identity: IDENTITY_ENDPOINT is set without a usable IDENTITY_HEADER",
        ),
        (
            "identity: managed}",
            {"IDENTITY_ENDPOINT": "no address", "IDENTITY_HEADER": "h"},
            "x.azure.identity: ",
        ),
    ],
)
def test_a_slip_in_an_identity_is_named(
    tmp_path: Path, settings: str, env: Mapping[str, str], told: str
) -> None:
    """By its path, with the way out."""
    closed = settings if "}" in settings else settings + "}"
    assert told in _problem(tmp_path, f"{PLACE}, azure: {{{closed}", env)
