"""Alerts, scraping and dashboard: valid, tested, and about metrics that the relay has."""

import json
import re
from pathlib import Path

import yaml
from conftest import ROOT, needs, run

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "tandem.json"
OPERATIONS = ROOT / "docs" / "operations.md"


def rules():
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions():
    found = [rule["expr"] for rule in rules()]
    found += [target["expr"] for panel in panels() for target in panel["targets"]]
    return found + [entry["expr"] for entry in json.loads(DASHBOARD.read_text())["annotations"]["list"]]


def test_promtool_takes_rules_and_configurations():
    needs("promtool")
    run("promtool", "check", "rules", PROMETHEUS / "alerts.yml")
    for name in ["prometheus.yml", "prometheus.bridge.yml"]:
        run("promtool", "check", "config", "--syntax-only", PROMETHEUS / name)
        assert yaml.safe_load((PROMETHEUS / name).read_text())["rule_files"] == ["alerts.yml"]


def test_alerts_are_raised_when_they_should_be():
    needs("promtool")
    run("promtool", "test", "rules", ROOT / "tests" / "deploy" / "alerts_test.yml")


def test_promtool_takes_the_expressions_of_the_dashboard(tmp_path):
    needs("promtool")
    # As Grafana fills them in.
    filled = [text.replace("$__rate_interval", "1m").replace("$instance", ".*") for text in expressions()]
    recorded = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(filled)]
    file = Path(tmp_path) / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    run("promtool", "check", "rules", "--lint=none", file)


def test_every_alert_says_how_bad_it_is_what_is_so_and_what_to_do():
    anchors = set(re.findall(r"^#+ (\w+)$", OPERATIONS.read_text(), re.MULTILINE))
    for rule in rules():
        name, notes = rule["alert"], rule["annotations"]
        assert rule["labels"]["severity"] in {"page", "ticket"}, name
        assert notes["summary"].endswith("."), name
        assert notes["runbook"] == f"operations.md#{name.lower()}", name
        assert name in anchors, f"{name} has no heading in docs/operations.md"


def test_every_alert_of_the_documentation_exists():
    described = set(re.findall(r"^#+ (Tandem[A-Z]\w+)$", OPERATIONS.read_text(), re.MULTILINE))
    assert described == {rule["alert"] for rule in rules()}


def test_only_metrics_that_the_relay_has_are_asked_for():
    counters = (ROOT / "src/telemetry/counters.rs").read_text()
    states = (ROOT / "src/threads/admin/metrics.rs").read_text()
    histograms = set(re.findall(r'^ +\w+: "(tandem_\w+)" (?:\{\w+\} )?in ', counters, re.MULTILINE))
    assert len(histograms) > 3
    known = {"up"} | set(re.findall(r'"((?:tandem|process)_\w+)"', counters + states)) - histograms
    known |= {f"{name}_{part}" for name in histograms for part in ["bucket", "sum", "count"]}
    for text in expressions():
        asked = set(re.findall(r"\b(?:tandem|process)_\w+|\bup\b", re.sub(r'"[^"]*"', "", text)))
        assert asked, text
        assert asked <= known, f"the relay has no {asked - known}: {text}"


def test_the_dashboard_is_for_any_prometheus():
    dashboard = json.loads(DASHBOARD.read_text())
    variables = {entry["name"]: entry for entry in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    for panel in panels():
        for source in [panel["datasource"], *(target["datasource"] for target in panel["targets"])]:
            assert source == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_no_panel_covers_another():
    taken = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
