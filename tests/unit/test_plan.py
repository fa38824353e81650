"""Which processes a stack has, and what they are told: ports, environment, configuration, secrets."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from trunkline.core.errors import ConfigError
from trunkline.settings import Settings
from trunkline.stack import ports as port_choice
from trunkline.stack.access import Secrets, reachable, shared_env
from trunkline.stack.plan import Plan, Programs, make_plan
from trunkline.stack.ports import FREE_FROM, FREE_TO, Ports, free_ports, holder, is_free, standard_ports
from trunkline.stack.process import Spec
from trunkline.stack.stack import _generations

PORTS = Ports(8000, 9100, 7880, 7882, 5060, 6390, 10000, 20000)
PROGRAMS = Programs(("redis-server",), ("livekit-server",), ("docker", "run", "image"))


def made_up(**given: object) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg, arg-type]


def plan_in(folder: Path, **options: object) -> Plan:
    settings = options.pop("settings", made_up())
    return make_plan(PROGRAMS, PORTS, settings, folder, environment={"PATH": "/bin"}, **options)  # type: ignore[arg-type]


def spec(plan: Plan, name: str) -> Spec:
    return next(process for process in plan.processes if process.name == name)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        yield door.getsockname()[1]


def test_all_processes_of_a_stack(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, workers=2)
    names = [process.name for process in plan.processes]
    assert names == ["redis", "livekit-server", "livekit-sip", "metrics", "orchestrator", "agent-1", "agent-2"]
    assert [process.name for process in plan_in(tmp_path, services=False).processes] == names[:3]


def test_agents_differ_in_their_name_alone(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, workers=2)
    one, two = dict(spec(plan, "agent-1").env), dict(spec(plan, "agent-2").env)
    assert (one.pop("WORKER_ID"), two.pop("WORKER_ID")) == ("agent-1", "agent-2")
    assert one == two


def test_no_secret_in_a_command_and_none_for_redis(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    secrets = [value for value in vars(plan.secrets).values() if value != plan.secrets.sip_trunk_username]
    for process in plan.processes:
        assert not any(secret in argument for secret in secrets for argument in process.argv)
    assert spec(plan, "redis").env == {"PATH": "/bin"}
    assert set(spec(plan, "livekit-server").env) == {"PATH", "GOGC", "GOMAXPROCS"}
    assert not any(secret in repr(plan) + repr(plan.secrets) + repr(plan.processes) for secret in secrets)


def test_environment_is_what_settings_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_in(tmp_path)
    assert {name.lower() for name in plan.env} - set(Settings.model_fields) == {"path"}
    for name, value in plan.env.items():
        monkeypatch.setenv(name, value)
    settings = made_up()
    settings.require("livekit_api_key", "livekit_api_secret", "orch_api_key", "twilio_auth_token", "sip_trunk_password")
    assert settings.livekit_ws_url == "ws://127.0.0.1:7880"
    assert settings.redis_url == f"redis://:{plan.secrets.redis_password}@127.0.0.1:6390/0"
    assert settings.orch_listen == "127.0.0.1:8000"
    assert settings.twilio_sip_ingress_host == "127.0.0.1:5060"
    assert settings.metrics_listen == "127.0.0.1:9100"


def test_secrets_are_new_for_each_run_unless_set() -> None:
    one, two = Secrets.make(made_up()), Secrets.make(made_up())
    assert not set(vars(one).values()) & set(vars(two).values())
    assert len(one.livekit_api_secret) >= 32
    known = Secrets.make(made_up(livekit_api_key="key", livekit_api_secret="secret"))
    assert (known.livekit_api_key, known.livekit_api_secret) == ("key", "secret")


def test_configuration_on_loopback(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    livekit, sip = (yaml.safe_load(text) for path, text in plan.files.items() if path.suffix == ".yaml")
    assert livekit["port"] == 7880
    assert livekit["bind_addresses"] == ["127.0.0.1"]
    assert livekit["keys"] == {plan.secrets.livekit_api_key: plan.secrets.livekit_api_secret}
    assert livekit["rtc"]["udp_port"] == 7882
    assert livekit["rtc"]["interfaces"]["includes"] == ["lo"]
    assert livekit["webhook"]["urls"] == ["http://127.0.0.1:8000/livekit/webhook"]
    assert [codec["mime"] for codec in livekit["room"]["enabled_codecs"]] == ["audio/opus", "video/VP8"]
    assert (sip["sip_port"], sip["listen_ip"], sip["nat_1_to_1_ip"]) == (5060, "127.0.0.1", "127.0.0.1")
    assert sip["rtp_port"] == "10000-20000"
    assert sip["redis"]["address"] == "127.0.0.1:6390"
    assert sip["redis"]["password"] == livekit["redis"]["password"] == plan.secrets.redis_password


def test_only_webhooks_and_phone_calls_leave_loopback(tmp_path: Path) -> None:
    settings = made_up(twilio_sip_ingress_host="sip.example.com")
    plan = plan_in(tmp_path, host="0.0.0.0", settings=settings)
    livekit, sip = (yaml.safe_load(text) for path, text in plan.files.items() if path.suffix == ".yaml")
    assert plan.env["ORCH_LISTEN"] == "0.0.0.0:8000"
    assert plan.env["ORCH_URL"] == "http://127.0.0.1:8000"
    assert plan.env["TWILIO_SIP_INGRESS_HOST"] == "sip.example.com"
    assert plan.env["METRICS_LISTEN"] == "127.0.0.1:9100"
    assert livekit["bind_addresses"] == ["127.0.0.1"]
    assert (sip["listen_ip"], sip["local_net"]) == ("0.0.0.0", "0.0.0.0/0")
    assert sip["nat_1_to_1_ip"] not in ("", "0.0.0.0")


def test_ingress_is_the_stacks_own_on_loopback() -> None:
    settings = made_up(twilio_sip_ingress_host="sip.example.com")
    env = shared_env(PORTS, Secrets.make(settings), settings, "127.0.0.1")
    assert env["TWILIO_SIP_INGRESS_HOST"] == "127.0.0.1:5060"
    assert reachable("192.0.2.7") == "192.0.2.7"


def test_a_server_in_a_container_gets_its_options_behind_the_image(tmp_path: Path) -> None:
    argv = spec(plan_in(tmp_path), "livekit-sip").argv
    assert argv == ("docker", "run", "image", "--config", str(tmp_path / "sip.yaml"))


def test_configuration_is_written_for_us_alone_and_removed(tmp_path: Path) -> None:
    plan = plan_in(tmp_path / "run")
    plan.prepare()
    assert {stat.S_IMODE(path.stat().st_mode) for path in plan.files} == {0o600}
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    plan.clean()
    assert not any(path.exists() for path in plan.files)


def test_stop_order_is_agents_first_redis_last(tmp_path: Path) -> None:
    groups = [{process.name for process in group} for group in _generations(plan_in(tmp_path, workers=2).processes)]
    assert groups == [
        {"livekit-sip", "agent-1", "agent-2"},
        {"metrics", "orchestrator"},
        {"livekit-server"},
        {"redis"},
    ]


def test_free_ports_are_all_different_and_free() -> None:
    ports = free_ports("127.0.0.1")
    single = [ports.orchestrator, ports.metrics, ports.livekit, ports.rtc_udp, ports.sip, ports.redis]
    assert len(set(single)) == 6
    assert all(FREE_FROM <= port < FREE_TO for port in single)
    assert not any(ports.rtp_from <= port < ports.rtp_to for port in single)
    assert all(is_free("127.0.0.1", port) for port in single)


def test_taken_port_is_seen_and_its_holder_named(taken_port: int) -> None:
    assert not is_free("127.0.0.1", taken_port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("127.0.0.1", 0))
        assert not is_free("127.0.0.1", door.getsockname()[1])
    assert "pytest" in holder(taken_port)
    assert holder(taken_port).startswith("pid ")


def test_taken_standard_port_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_choice, "is_free", lambda _host, port: port != 5060)
    monkeypatch.setattr(port_choice, "holder", lambda port: f"pid 42 (other {port})")
    with pytest.raises(ConfigError, match=r"^port 5060 \(sip\) is taken by pid 42 \(other 5060\) \(stop it"):
        standard_ports("127.0.0.1")


def test_standard_ports_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_choice, "is_free", lambda _host, _port: True)
    ports = standard_ports("127.0.0.1")
    assert (ports.orchestrator, ports.metrics, ports.livekit, ports.sip) == (8000, 9100, 7880, 5060)


def test_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"can't listen on 192\.0\.2\.1"):
        is_free("192.0.2.1", 5060)
    with pytest.raises(ConfigError, match="--host"):
        is_free("example", 5060)
