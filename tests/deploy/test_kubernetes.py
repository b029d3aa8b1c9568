"""deploy/kubernetes: what one part says of another is so, no call is cut by a pod that goes, and the schemas hold where kubeconform is."""

import re
import tomllib

import pytest
import yaml

from conftest import ROOT, needs, run

FOLDER = ROOT / "deploy" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module", name="parts")
def read_parts():
    documents = [document for path in FILES for document in yaml.safe_load_all(path.read_text())]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def pod(parts):
    return parts["Deployment", "tandem"]["spec"]["template"]


def settings(parts):
    return tomllib.loads(parts["ConfigMap", "tandem"]["data"]["tandem.toml"])


def test_everything_selects_the_pods(parts):
    labels = pod(parts)["metadata"]["labels"].items()
    for kind, name in [("Service", "tandem"), ("Service", "tandem-pods")]:
        assert parts[kind, name]["spec"]["selector"].items() <= labels
    for kind in ["Deployment", "PodDisruptionBudget"]:
        assert parts[kind, "tandem"]["spec"]["selector"]["matchLabels"].items() <= labels
    target = parts["ScaledObject", "tandem"]["spec"]["scaleTargetRef"]
    assert ("Deployment", target["name"]) in parts


def test_ports_and_volumes_are_those_that_there_are(parts):
    spec = pod(parts)["spec"]
    (container,) = spec["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["legs"] == 9094
    assert settings(parts)["admin"]["listen"].endswith(f":{ports['admin']}")
    for name in ["tandem", "tandem-pods"]:
        assert {port["targetPort"] for port in parts["Service", name]["spec"]["ports"]} == set(ports)
    for probe in ["startupProbe", "livenessProbe"]:
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "admin"}
    assert f"127.0.0.1/{ports['admin']}" in container["readinessProbe"]["exec"]["command"][-1]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}


def test_a_pod_that_goes_waits_for_the_longest_call(parts):
    spec, configured = pod(parts)["spec"], settings(parts)
    before = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert configured["drain"]["seconds"] >= configured["leg"]["max_call_seconds"]
    assert spec["terminationGracePeriodSeconds"] >= before + configured["drain"]["seconds"] + 30
    assert parts["Deployment", "tandem"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_scaler_asks_for_metrics_that_there_are(parts):
    (trigger,) = parts["ScaledObject", "tandem"]["spec"]["triggers"]
    documented = (ROOT / "docs" / "metrics.md").read_text()
    asked = set(re.findall(r"tandem_\w+", trigger["metadata"]["query"]))
    assert "tandem_headroom_calls" in asked and all(f"`{name}`" in documented for name in asked), asked


def test_the_schemas_hold():
    needs("kubeconform")
    run("kubeconform", "-strict", "-summary", "-ignore-missing-schemas", *FILES)
