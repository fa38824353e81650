"""docker-compose.yml, loaded as Compose does it, is the stack that the brief and .env.example promise."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from tests.conftest import need
from trunkline.settings import Settings
from trunkline.stack.env_file import fill, fresh_secrets, variables
from trunkline.stack.render import PLACEHOLDERS, main

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
OURS = {"config", "orchestrator", "agent", "metrics", "loadtest"}
FOREIGN = {"redis", "livekit", "sip"}
NEVER_FROM_ENV = {"ORCH_LISTEN", "METRICS_LISTEN", "WORKER_ID"}
"""Ports are fixed inside Compose, and each replica makes up its name."""

Project: TypeAlias = dict[str, Any]


class Check:
    """The built compose_check, and an env file with secrets."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self.env_file = folder / "env"
        self.env_file.write_text(fill((ROOT / ".env.example").read_text(), fresh_secrets())[0])

    def run(self, *files: str, env_file: Path | None = None, profile: str = "") -> subprocess.CompletedProcess[str]:
        options = ["-profile", profile] if profile else []
        command = [self._program, *options, env_file or self.env_file, *(ROOT / name for name in files)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)

    def load(self, *files: str, profile: str = "") -> Project:
        done = self.run(*(files or ("docker-compose.yml",)), profile=profile)
        assert done.returncode == 0, done.stderr
        # compose-go warns about variables that are nowhere set: there shall be none.
        assert "variable is not set" not in done.stderr, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    folder = tmp_path_factory.mktemp("compose")
    program = folder / "compose_check"
    built = subprocess.run(
        [need("go"), "build", "-mod=readonly", "-buildvcs=false", "-o", program, "."],
        check=False,
        cwd=ROOT / "tests" / "deploy" / "compose_check",
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, "CGO_ENABLED": "0"},
    )
    assert built.returncode == 0, built.stderr
    return Check(program, folder)


@pytest.fixture(scope="module")
def project(check: Check) -> Project:
    return check.load(profile="loadtest")


def test_up_starts_everything_but_the_load_test(check: Check) -> None:
    assert set(check.load()["services"]) == OURS - {"loadtest"} | FOREIGN


def test_profile_adds_the_load_test(project: Project) -> None:
    assert set(project["services"]) == OURS | FOREIGN
    assert project["services"]["loadtest"]["profiles"] == ["loadtest"]
    assert project["services"]["loadtest"]["working_dir"] == "/loadtest"


def test_without_secrets_the_way_to_get_them_is_named(check: Check) -> None:
    done = check.run("docker-compose.yml", env_file=ROOT / ".env.example")
    assert done.returncode == 1
    assert "LIVEKIT_API_SECRET" in done.stderr
    assert "scripts/generate_tokens.py --init" in done.stderr


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.host.yml"])
def test_no_secret_is_in_the_files(name: str) -> None:
    for variable in fresh_secrets():
        for line in (ROOT / name).read_text().splitlines():
            before, colon, value = line.partition(f"{variable}:")
            if colon and not before.strip():
                assert value.strip() == "" or value.strip().startswith(f"${{{variable}:?")


def test_each_service_starts_after_what_it_needs(project: Project) -> None:
    needs = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in project["services"].items()
    }
    rendered, healthy, started = "service_completed_successfully", "service_healthy", "service_started"
    assert needs == {
        "config": {},
        "redis": {},
        "metrics": {},
        "livekit": {"config": rendered, "redis": healthy},
        "sip": {"config": rendered, "redis": healthy, "livekit": healthy},
        "orchestrator": {"redis": healthy, "livekit": healthy},
        "agent": {"livekit": healthy, "orchestrator": healthy, "metrics": healthy},
        "loadtest": {"orchestrator": healthy, "agent": started, "metrics": healthy},
    }


def test_whatever_is_waited_for_has_a_health_check(project: Project) -> None:
    services = project["services"]
    waited_for = {
        other
        for service in services.values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }
    assert {name for name in waited_for if "healthcheck" not in services[name]} == set()


@pytest.mark.parametrize("files", [("docker-compose.yml",), ("docker-compose.yml", "docker-compose.host.yml")])
def test_no_service_has_more_rights_than_it_needs(check: Check, files: tuple[str, ...]) -> None:
    for name, service in check.load(*files, profile="loadtest")["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name


def test_only_ours_are_built_and_foreign_images_are_pinned(project: Project) -> None:
    services = project["services"]
    assert {name for name, service in services.items() if "build" in service} == OURS
    assert {services[name]["image"] for name in FOREIGN} == {
        "redis:7-alpine",
        "livekit/livekit-server:v1.13.5",
        "livekit/sip:v1.8.0",
    }


def test_http_is_published_on_loopback_only(project: Project) -> None:
    published = {
        (int(port["published"]), port["protocol"]): port["host_ip"]
        for service in project["services"].values()
        for port in service.get("ports", [])
    }
    rtp = {(number, "udp") for number in range(10000, 10200)}
    assert {door for door, address in published.items() if address == "127.0.0.1"} == {
        (8000, "tcp"),
        (9100, "tcp"),
        (7880, "tcp"),
    }
    assert {door for door, address in published.items() if address == "0.0.0.0"} == {
        (5060, "udp"),
        (7881, "tcp"),
        (7882, "udp"),
        *rtp,
    }


def test_agents_can_be_many(project: Project) -> None:
    """No fixed name, no published port, no shared WORKER_ID."""
    agent = project["services"]["agent"]
    assert not {"container_name", "hostname", "ports"} & set(agent)
    assert "WORKER_ID" not in agent["environment"]


def test_a_worker_may_finish_its_calls(project: Project) -> None:
    from trunkline.agent.worker import DRAIN_S, RELEASE_S

    assert int(project["services"]["agent"]["stop_grace_period"].removesuffix("s")) > DRAIN_S + RELEASE_S


def test_every_setting_reaches_a_service(project: Project) -> None:
    passed = {
        name for service in project["services"].values() for name in service.get("environment", {}) if service["image"]
    }
    assert {name.upper() for name in Settings.model_fields} - passed == {"WORKER_ID"}


def test_every_value_of_the_env_file_is_used(check: Check, tmp_path: Path) -> None:
    """A changed value changes the project: no variable of .env.example is there in vain."""
    plain = variables(check.env_file.read_text())
    before = check.load(profile="loadtest")
    for name in plain.keys() - NEVER_FROM_ENV:
        changed = {**plain, name: "10200-10299" if name == "SIP_RTP_PORTS" else "127.0.0.9"}
        env_file = tmp_path / "env"
        env_file.write_text("".join(f"{key}={value}\n" for key, value in changed.items()))
        done = check.run("docker-compose.yml", env_file=env_file, profile="loadtest")
        assert done.returncode == 0, (name, done.stderr)
        assert json.loads(done.stdout) != before, name


def test_secrets_go_only_to_those_who_need_them(project: Project) -> None:
    holders = {
        secret: {name for name, service in project["services"].items() if secret in service.get("environment", {})}
        for secret in ("LIVEKIT_API_SECRET", "TWILIO_AUTH_TOKEN", "SIP_TRUNK_PASSWORD", "ORCH_API_KEY")
    }
    assert holders == {
        "LIVEKIT_API_SECRET": {"config", "orchestrator", "agent"},
        "TWILIO_AUTH_TOKEN": {"orchestrator"},
        "SIP_TRUNK_PASSWORD": {"orchestrator"},
        "ORCH_API_KEY": {"orchestrator", "loadtest"},
    }


@pytest.mark.parametrize("files", [("docker-compose.yml",), ("docker-compose.yml", "docker-compose.host.yml")])
def test_config_service_can_render_both_templates(check: Check, files: tuple[str, ...]) -> None:
    """What it is given are values for every placeholder, of the right kind."""
    environment = check.load(*files)["services"]["config"]["environment"]
    assert set(environment) >= {name for name in PLACEHOLDERS if not name.startswith("REDIS_")}
    livekit = yaml.safe_load(main([str(ROOT / "config" / "livekit.yaml")], environment))
    sip = yaml.safe_load(main([str(ROOT / "config" / "sip.yaml")], environment))
    assert livekit["port"] == 7880
    assert sip["ws_url"].endswith(":7880")
    assert livekit["redis"]["address"] == sip["redis"]["address"]
    assert sip["rtp_port"] == "10000-10199"


def test_on_the_host_network_nothing_is_published_and_http_stays_on_loopback(check: Check) -> None:
    services = check.load("docker-compose.yml", "docker-compose.host.yml", profile="loadtest")["services"]
    for name in services.keys() - {"config"}:
        assert services[name]["network_mode"] == "host", name
        assert "ports" not in services[name], name
    assert services["orchestrator"]["environment"]["ORCH_LISTEN"] == "127.0.0.1:8000"
    assert services["metrics"]["environment"]["METRICS_LISTEN"] == "127.0.0.1:9100"
    assert services["redis"]["command"][-2:] == ["--bind", "127.0.0.1"]
    assert services["config"]["environment"]["LIVEKIT_BIND_ADDRESSES"] == "127.0.0.1"
    named = json.dumps([service.get("environment", {}) for service in services.values()])
    assert not [name for name in ("livekit", "redis", "orchestrator", "metrics") if f"//{name}:" in named]
