"""The compose file: valid, hardened in every service, and with the defaults of the table."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.files import DEFAULTS, ROOT, complaint, compose, stop_seconds

COMPOSE = compose()
SERVICES = COMPOSE["services"]
PASSED = re.compile(r"\$\{(\w+):-([^}]*)\}")
SCHEMA = ("--builtin-schema", "vendor.compose-spec")

# Behind Caddy the router must believe Caddy, and nobody else.
CADDY = SERVICES["caddy"]["networks"]["edge"]["ipv4_address"]
OWN = {"TRUST_PROXY_HEADERS": "true", "TRUSTED_PROXY_CIDRS": f"{CADDY}/32"}

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def seconds(text: str) -> float:
    assert re.fullmatch(r"\d+s", text)
    return float(text[:-1])


def test_the_file_is_valid() -> None:
    assert complaint("check-jsonschema", *SCHEMA, "docker-compose.yaml") == ""


def test_an_invalid_file_is_seen(tmp_path: Path) -> None:
    bad = tmp_path / "docker-compose.yaml"
    bad.write_text("services:\n  autopilot:\n    read_onli: true\n")
    assert "read_onli" in complaint("check-jsonschema", *SCHEMA, bad)


@every_service
def test_a_service_has_no_more_rights_than_it_needs(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (
        ["NET_BIND_SERVICE"] if service is SERVICES["caddy"] else []
    )
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & service.keys()


@every_service
def test_a_service_is_bounded(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+m", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 128
    (tmp,) = service["tmpfs"]
    assert re.fullmatch(r"/tmp:size=\d+m,mode=1777,nosuid,nodev,noexec", tmp)  # noqa: S108 - in it


@every_service
def test_a_service_has_its_image_at_a_version_and_its_files_read_only(
    service: dict[str, Any],
) -> None:
    image = service["image"]
    assert re.search(r":[\w.${}:-]+(@sha256:[0-9a-f]{64})?$", image)
    assert ":latest" not in image
    for volume in service.get("volumes", []):
        assert volume.endswith(":ro") or volume.partition(":")[0] in COMPOSE["volumes"]


def test_every_setting_is_passed_with_the_default_of_the_table_and_nothing_else_is() -> None:
    passed = {}
    for name, value in SERVICES["autopilot"]["environment"].items():
        match = PASSED.fullmatch(value)
        assert match, f"{name} cannot be set from outside"
        assert match[1] == name
        passed[name] = match[2]
    assert passed == DEFAULTS | OWN
    assert list(passed) == list(DEFAULTS)


def test_the_router_believes_caddy_alone_whose_address_is_fixed() -> None:
    (network,) = COMPOSE["networks"]["edge"]["ipam"]["config"]
    assert ip_address(CADDY) in ip_network(network["subnet"])


def test_caddy_is_the_only_way_in_and_waits_until_the_router_is_ready() -> None:
    public = {
        name
        for name, service in SERVICES.items()
        if any(not port.startswith("127.0.0.1:") for port in service.get("ports", []))
    }
    assert public == {"caddy"}
    assert SERVICES["caddy"]["depends_on"] == {"autopilot": {"condition": "service_healthy"}}
    assert SERVICES["caddy"]["environment"] == {
        "CADDY_SITE_ADDRESS": "${CADDY_SITE_ADDRESS:-localhost}",
        "CADDY_EMAIL": "${CADDY_EMAIL:-}",
        "CADDY_UPSTREAM": "${CADDY_UPSTREAM:-autopilot:8080}",
    }


def test_the_healthcheck_is_that_of_the_image() -> None:
    health = SERVICES["autopilot"]["healthcheck"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    told = ", ".join(f'"{word}"' for word in health["test"][1:])
    assert health["test"][0] == "CMD"
    assert f"    CMD [{told}]\n" in dockerfile
    for name in ("interval", "timeout", "retries"):
        assert f"--{name}={health[name]} " in dockerfile


def test_the_commands_of_the_readme_are_those_of_the_file() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"^docker compose .+?(?=  #|$)", readme, re.MULTILINE)
    assert len(commands) == 3
    profiles = {name for service in SERVICES.values() for name in service.get("profiles", ())}
    for command in commands:
        words = command.split()
        assert words[-2:] == ["up", "--build"], command
        for option, value in zip(words[2:-2:2], words[3:-2:2], strict=True):
            known = value in profiles if option == "--profile" else (ROOT / value).is_file()
            assert known, command
        # Without the platform's stand-in the profile would ask the real one.
        assert ("demo" in words) is ("deploy/demo.env" in words)


def test_whoever_reaches_grafana_may_only_look() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


@pytest.mark.parametrize("name", ["autopilot", "caddy"])
def test_nobody_is_killed_while_the_router_drains(name: str) -> None:
    assert seconds(SERVICES[name]["stop_grace_period"]) >= stop_seconds() + 10


def test_the_profiles_hold_the_simulator_and_the_observers_alone() -> None:
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}
    assert profiles == {
        "autopilot": None,
        "caddy": None,
        "simulator": ["demo"],
        "prometheus": ["observe"],
        "grafana": ["observe"],
    }
    assert SERVICES["simulator"]["image"] == SERVICES["autopilot"]["image"]
    lines = (ROOT / "deploy" / "demo.env").read_text().splitlines()
    demo = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert demo.keys() == {"BACKEND_BASE_URL", "MODELS_URL", "UTILIZATION_URL"}
    port = SERVICES["simulator"]["expose"][0]
    assert all(url.startswith(f"http://simulator:{port}") for url in demo.values())
