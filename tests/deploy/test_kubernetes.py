"""The manifests: valid against the schemas, hardened, and in step with the drain settings."""

import json
import re
from pathlib import Path

import pytest

from tests.deploy.files import DEFAULTS, KUBERNETES, SECRETS, complaint, manifest, stop_seconds

RESOURCES = [Path(name).stem for name in manifest("kustomization")["resources"]]
CORE = [name for name in RESOURCES if name != "servicemonitor"]
SCHEMA = KUBERNETES / "schemas" / "servicemonitor.json"

DEPLOYMENT = manifest("deployment")
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
LABELS = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]


def test_every_manifest_is_in_the_kustomization() -> None:
    there = {path.stem for path in KUBERNETES.glob("*.yaml")} - {"kustomization"}
    assert set(RESOURCES) == there


@pytest.mark.parametrize("name", CORE)
def test_a_manifest_is_valid(name: str) -> None:
    assert complaint("kubernetes-validate", "--strict", KUBERNETES / f"{name}.yaml") == ""


def test_an_invalid_manifest_is_seen(tmp_path: Path) -> None:
    bad = tmp_path / "service.yaml"
    bad.write_text((KUBERNETES / "service.yaml").read_text().replace("targetPort", "targetPost"))
    assert "targetPost" in complaint("kubernetes-validate", "--strict", bad)


def test_the_service_monitor_is_valid_and_names_a_port_of_the_service(tmp_path: Path) -> None:
    path = KUBERNETES / "servicemonitor.yaml"
    assert complaint("check-jsonschema", "--schemafile", SCHEMA, path) == ""
    bad = tmp_path / "servicemonitor.yaml"
    bad.write_text(path.read_text().replace("scrapeTimeout", "scrapetimeout"))
    assert "scrapetimeout" in complaint("check-jsonschema", "--schemafile", SCHEMA, bad)

    monitor, service = manifest("servicemonitor"), manifest("service")
    assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    ports = {port["name"] for port in service["spec"]["ports"]}
    assert {each["port"] for each in monitor["spec"]["endpoints"]} <= ports
    assert {each["path"] for each in monitor["spec"]["endpoints"]} == {"/metrics"}
    assert json.loads(SCHEMA.read_text())["additionalProperties"] is False


def test_every_setting_is_in_the_config_map_with_the_default_of_the_table_or_in_a_secret() -> None:
    data = manifest("configmap")["data"]
    assert data == {name: text for name, text in DEFAULTS.items() if name not in SECRETS}
    sources = [
        {"configMapRef": {"name": manifest("configmap")["metadata"]["name"]}},
        {"secretRef": {"name": "autopilot-sticky", "optional": True}},
        {"secretRef": {"name": "autopilot-admin", "optional": True}},
    ]
    assert CONTAINER["envFrom"] == sources
    assert "env" not in CONTAINER
    # How to make the secrets stands above the manifest, with every variable that may be in it.
    told = (KUBERNETES / "deployment.yaml").read_text().partition("apiVersion")[0]
    for name in ("autopilot-sticky", "autopilot-admin"):
        assert f"create secret generic {name} " in told
    assert set(re.findall(r"--from-literal=(\w+)=", told)) == SECRETS


def test_liveness_asks_whether_it_lives_and_readiness_whether_it_is_ready() -> None:
    probes = {
        kind: CONTAINER[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")
    }
    assert probes == {
        "startup": {"path": "/healthz", "port": "http"},
        "liveness": {"path": "/healthz", "port": "http"},
        "readiness": {"path": "/readyz", "port": "http"},
    }
    (port,) = CONTAINER["ports"]
    assert (port["name"], str(port["containerPort"])) == (
        "http",
        DEFAULTS["LISTEN_ADDR"].rpartition(":")[2],
    )


def test_the_pod_is_not_killed_while_the_router_drains() -> None:
    sleep, pause = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    # The readiness probe, or the endpoints, may take so long to notice.
    assert int(pause) + int(DEFAULTS["DRAIN_READINESS_LAG_MS"]) / 1000 >= 5
    assert POD["terminationGracePeriodSeconds"] >= int(pause) + stop_seconds() + 10


def test_the_pod_has_no_more_rights_than_it_needs() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert POD["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert CONTAINER["resources"]["limits"].keys() == {"memory"}
    assert CONTAINER["resources"]["requests"].keys() == {"cpu", "memory"}
    (volume,) = POD["volumes"]
    assert volume["emptyDir"].keys() == {"medium", "sizeLimit"}


def test_everything_selects_the_pods_of_the_deployment() -> None:
    spread = POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
    assert [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        spread,
        manifest("service")["spec"]["selector"],
        manifest("poddisruptionbudget")["spec"]["selector"]["matchLabels"],
        manifest("networkpolicy")["spec"]["podSelector"]["matchLabels"],
    ] == [LABELS] * 5
    target = manifest("horizontalpodautoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", DEPLOYMENT["metadata"]["name"])


def test_pods_are_added_by_requests_in_progress_well_before_they_are_full() -> None:
    scaler = manifest("horizontalpodautoscaler")["spec"]
    (metric,) = scaler["metrics"]
    assert metric["pods"]["metric"]["name"] == "autopilot_requests_in_progress"
    full = int(DEFAULTS["MAX_CONCURRENT_REQUESTS"])
    assert int(metric["pods"]["target"]["averageValue"]) <= full / 2
    assert scaler["minReplicas"] >= 2
    # Or each roll-out would undo what the autoscaler did.
    assert "replicas" not in DEPLOYMENT["spec"]


def test_the_network_lets_in_ingress_and_prometheus_and_out_names_https_and_redis() -> None:
    policy = manifest("networkpolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (incoming,) = policy["ingress"]
    assert [each["port"] for each in incoming["ports"]] == ["http"]
    assert len(incoming["from"]) == 2
    out = [(each["port"], each["protocol"]) for rule in policy["egress"] for each in rule["ports"]]
    assert out == [(53, "UDP"), (53, "TCP"), (443, "TCP"), (6379, "TCP")]
