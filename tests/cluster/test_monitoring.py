"""The dashboard and Prometheus' file; what a head and a sweep really export is looked at in tests/service."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

OF_GPUS = {"ray_node_gpus_utilization", "ray_node_gram_used"}  # no node here has one


@pytest.fixture
def dashboard(cluster: Path) -> dict:
    return json.loads((cluster / "monitoring" / "grafana.json").read_text())


def metrics(dashboard: dict) -> set[str]:
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return {name for expression in expressions for name in re.findall(r"\bray_\w+", expression)}


def test_each_panel_has_a_place_of_its_own_and_says_what_it_shows(dashboard):
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in dashboard["panels"]})
    assert all(target["legendFormat"] for panel in dashboard["panels"] for target in panel["targets"])


def test_ray_names_the_gpus_metrics_so(dashboard):
    assert metrics(dashboard) >= OF_GPUS
    assert {name.removeprefix("ray_") for name in OF_GPUS} <= METRICS_GAUGES.keys()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_accepts_its_configuration(cluster):
    path = cluster / "monitoring" / "prometheus.yml"
    run = subprocess.run(["promtool", "check", "config", path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
