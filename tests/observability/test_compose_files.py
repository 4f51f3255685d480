"""The compose set-up as far as it can be judged without a container: files, secrets, settings."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.running import RunningGateway

import tidegate

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"
DOCKER = ROOT / "deploy" / "docker"
#: A version with a minor number at least: `latest`, `3` or none would change under the reader.
PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+[\w.-]*")
#: Begin as root for one thing that only root can do.
ROOT_AT_FIRST = {"postgres", "volume-owner"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as Compose reads it: anchors and merges resolved."""
    read: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return read


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder in which the secrets have been made."""
    folder = tmp_path_factory.mktemp("set-up") / "compose"
    shutil.copytree(COMPOSE, folder, ignore=shutil.ignore_patterns("secrets", ".env"))
    make_secrets(folder)
    return folder


def make_secrets(folder: Path) -> str:
    """Run the script and return what it prints."""
    done = subprocess.run(
        [folder / "make-secrets.sh"], check=True, capture_output=True, text=True, timeout=30
    )
    return done.stdout


def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def secret_targets(service: dict[str, Any]) -> dict[str, str]:
    """Return where a service finds its secrets: path by name."""
    return {
        **{
            name: f"/run/secrets/{name}"
            for name in service.get("secrets", ())
            if isinstance(name, str)
        },
        **{
            one["source"]: one["target"]
            for one in service.get("secrets", ())
            if isinstance(one, dict)
        },
    }


def test_every_service_that_was_asked_for_is_there(compose: dict[str, Any]) -> None:
    """The gateway, what it stores in, and what watches it."""
    wanted = {"gateway", "postgres", "redis", "prometheus", "alertmanager", "grafana"}
    assert set(services(compose)) == wanted | {"volume-owner"}


def test_every_image_is_pinned(compose: dict[str, Any]) -> None:
    """The same set-up tomorrow; our own image has the version of this checkout."""
    images = {name: service["image"] for name, service in services(compose).items()}
    assert {name: image for name, image in images.items() if not PINNED.fullmatch(image)} == {}
    assert images["gateway"] == f"tidegate:{tidegate.__version__}"


def test_every_service_is_confined(compose: dict[str, Any]) -> None:
    """Read-only root, no capabilities but those that are named, no new privileges, no root."""
    for name, service in services(compose).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        if name in ROOT_AT_FIRST:
            continue
        assert service["user"].startswith("${TIDEGATE_UID:?"), name
        assert "cap_add" not in service, name


def test_ports_are_open_to_this_host_alone(compose: dict[str, Any]) -> None:
    """Nobody elsewhere reaches anything, and the stores' ports are not published at all."""
    ports = {name: service.get("ports", []) for name, service in services(compose).items()}
    assert all(port.startswith("127.0.0.1:") for found in ports.values() for port in found)
    assert ports["gateway"]
    assert ports["postgres"] == ports["redis"] == []
    assert compose["networks"]["stores"]["internal"] is True
    assert services(compose)["postgres"]["networks"] == ["stores"]


def test_every_service_that_stays_is_watched(compose: dict[str, Any]) -> None:
    """Each has a health check, and those that need another wait until it is well."""
    for name, service in services(compose).items():
        if name == "volume-owner":
            continue
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        for other, condition in service.get("depends_on", {}).items():
            assert other in services(compose)
            assert condition["condition"] in ("service_healthy", "service_completed_successfully")


def test_state_is_in_named_volumes_and_every_mounted_file_exists(compose: dict[str, Any]) -> None:
    """What outlives a container has a name; what is mounted from here is here."""
    used = set()
    for name, service in services(compose).items():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (COMPOSE / source).exists(), f"{name}: {source}"
                assert mode == ["ro"], f"{name}: {source} could be written"
            else:
                used.add(source)
    assert used == set(compose["volumes"])


def test_grafana_lets_nobody_in_without_a_password(compose: dict[str, Any]) -> None:
    """No anonymous access, no sign-up, and its password comes from a file."""
    environment = services(compose)["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert environment["GF_USERS_ALLOW_SIGN_UP"] == "false"
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana_admin_password"
    assert "GF_SECURITY_ADMIN_PASSWORD" not in environment


def test_grafana_finds_what_is_provisioned(compose: dict[str, Any]) -> None:
    """Dashboards are mounted where the provisioning file looks for them."""
    folder = ROOT / "deploy/grafana/provisioning/dashboards/tidegate.yml"
    (provider,) = yaml.safe_load(folder.read_text())["providers"]
    mounted = [volume.split(":")[1] for volume in services(compose)["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
    home = services(compose)["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "deploy/grafana/dashboards" / Path(home).name).exists()


def test_no_password_stands_in_a_file(compose: dict[str, Any]) -> None:
    """A setting whose name says secret takes the path of a file."""
    names = re.compile(r"PASSWORD|SECRET|TOKEN|KEY", re.I)
    for name, service in services(compose).items():
        for key, value in service.get("environment", {}).items():
            if names.search(key):
                assert key.endswith("_FILE"), f"{name}: {key}"
                assert value in secret_targets(service).values(), f"{name}: {key}"
        arguments = " ".join(map(str, service.get("command", [])))
        assert not re.search(r"--?(?:requirepass|password|token)", arguments), name
    gateway = yaml.safe_load((COMPOSE / "gateway" / "tidegate.yaml").read_text())
    secrets = [gateway["metrics"]["token"], gateway["stores"]["password"]]
    secrets += [gateway["stores"]["pepper"], *(key["secret"] for key in gateway["keys"].values())]
    available = secret_targets(services(compose)["gateway"]).values()
    assert all(text.removeprefix("file:") in available for text in secrets)


def test_every_secret_is_made_by_the_script_for_its_owner_alone(
    compose: dict[str, Any], made: Path
) -> None:
    """Nothing is declared that is not made, nothing made that nobody uses."""
    declared = {name: made / secret["file"] for name, secret in compose["secrets"].items()}
    folder = made / "secrets"
    assert set(declared.values()) == set(folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name, path in declared.items():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, name
        assert path.read_text().strip(), name
    used = {name for service in services(compose).values() for name in secret_targets(service)}
    assert used == set(declared)
    assert re.fullmatch(r"TIDEGATE_UID=[1-9]\d*\nTIDEGATE_GID=\d+\n", (made / ".env").read_text())


def test_the_script_never_changes_a_secret_that_is_there(made: Path) -> None:
    """A second run would otherwise lock the database's owner out."""
    before = {path.name: path.read_text() for path in (made / "secrets").iterdir()}
    assert len(set(before.values())) >= len(before) - 2  # the three that others give are alike
    (made / "secrets" / "metrics_token").unlink()
    assert make_secrets(made) == "made secrets/metrics_token\n"
    after = {path.name: path.read_text() for path in (made / "secrets").iterdir()}
    assert after.pop("metrics_token") != before.pop("metrics_token")
    assert after == before


def test_secrets_cannot_be_committed_by_accident() -> None:
    """Git ignores what the script makes."""
    ignored = (COMPOSE / ".gitignore").read_text().splitlines()
    assert {"/secrets/", "/.env"} <= set(ignored)


def test_the_gateways_configuration_is_accepted(made: Path) -> None:
    """`tidegate check` reads it with the secrets that the script made."""
    path = made / "gateway" / "tidegate.yaml"
    path.write_text(path.read_text().replace("/run/secrets", str(made / "secrets")))
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "check", "--config", path],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 key" in done.stdout


@pytest.mark.external
@pytest.mark.process
def test_the_gateway_serves_with_that_configuration(
    made: Path, postgres_url: str, tmp_path: Path
) -> None:
    """With the made secrets and a real PostgreSQL: the first key works, the page needs its token.

    Only addresses and paths differ from the container's.
    """
    config = (COMPOSE / "gateway" / "tidegate.yaml").read_text()
    config = config.replace("/run/secrets", str(made / "secrets")).replace("0.0.0.0", "127.0.0.1")
    lines = config.splitlines()
    lines = [line for line in lines if not line.startswith("  password: ")]
    (database,) = [line for line in lines if line.startswith("  database: ")]
    lines[lines.index(database)] = f"  database: {postgres_url}"
    key = (made / "secrets" / "first_api_key").read_text().strip()
    token = (made / "secrets" / "metrics_token").read_text().strip()
    body = b'{"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}'
    with RunningGateway(tmp_path, "\n".join(lines)) as gateway:
        assert not any("tg-" in line for line in gateway.output), "a key was printed into a log"
        assert status(f"{gateway.url}/v1/chat/completions", key, body) == 200
        assert status(f"{gateway.url}/v1/chat/completions", "tg-other", body) == 401
        assert status(f"{gateway.url}/api/v1/metrics", token) == 200
        assert status(f"{gateway.url}/api/v1/metrics", "") == 401


def status(url: str, token: str, body: bytes | None = None) -> int:
    """Return the status of an answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.external
def test_prometheus_accepts_its_configuration(made: Path) -> None:
    """`promtool check config`, with the shipped rules and the token that the script made."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    path = made / "prometheus.yml"
    text = path.read_text().replace("/run/secrets", str(made / "secrets"))
    path.write_text(text.replace("/etc/prometheus/rules", str(ROOT / "deploy/prometheus/rules")))
    done = subprocess.run(
        [promtool, "check", "config", path], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 rule files" not in done.stdout


def test_prometheus_asks_by_the_name_that_alerts_and_dashboards_know(
    compose: dict[str, Any],
) -> None:
    """The job is the shipped one; addresses are names of services."""
    here = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    shipped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    job, reference = here["scrape_configs"][0], shipped["scrape_configs"][0]
    for field in ("job_name", "metrics_path", "scrape_interval"):
        assert job[field] == reference[field]
    (target,) = job["static_configs"][0]["targets"]
    assert target.partition(":")[0] in services(compose)
    assert set(job["authorization"].values()) <= set(
        secret_targets(services(compose)["prometheus"]).values()
    )


def test_alertmanager_finds_the_secrets_that_its_configuration_names(
    compose: dict[str, Any],
) -> None:
    """Every `…_file` of the sample is mounted."""
    sample = (ROOT / "deploy/alertmanager/alertmanager.yml").read_text()
    named = set(re.findall(r"_file: (\S+)", sample))
    assert named
    assert named <= set(secret_targets(services(compose)["alertmanager"]).values())


def test_the_image_is_built_from_what_is_locked_and_runs_without_root() -> None:
    """Pinned base, hashes checked, an own user, and only files that exist are copied."""
    text = (DOCKER / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.M)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base) for base in bases)
    installs = re.findall(r"pip install ([^&\n\\]*)", text)
    assert len(installs) == 3
    assert all("--require-hashes" in line or line.strip() == "--no-deps ." for line in installs)
    assert re.findall(r"^USER (\S+)", text, re.M) == ["tidegate"]
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M)
        for source in line.split()[:-1]
    ]
    kept = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in kept, "the build would not see it"


def test_the_database_driver_comes_from_the_lock_file() -> None:
    """The line of the image's build finds the driver with its hashes, and nothing else."""
    text = (DOCKER / "Dockerfile").read_text()
    pattern = re.search(r"sed -n '(.+?)' requirements-dev\.lock", text)
    assert pattern is not None
    found = subprocess.run(
        ["sed", "-n", pattern[1], ROOT / "requirements-dev.lock"],
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    ).stdout.splitlines()
    assert found[0].startswith("asyncpg==")
    assert len(found) > 1
    assert all(line.strip().startswith("--hash=sha256:") for line in found[1:])
    assert not found[-1].endswith("\\")
