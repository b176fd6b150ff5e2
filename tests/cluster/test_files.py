"""Scripts, the cloud's file and the image's recipe: what can be checked of them without their machines."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*ROOT.glob("cluster/*/*.sh"), *ROOT.glob("cluster/*/*.sbatch")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_reads_the_script(script):
    assert subprocess.run(["bash", "-n", script], capture_output=True, check=True).stderr == b""
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    assert script.stat().st_mode & 0o111 or script.suffix == ".sbatch", f"{script} is not executable"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script):
    run = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert run.stdout == ""


def test_each_place_has_a_readme_that_says_what_was_not_run(cluster):
    places = [path for path in cluster.iterdir() if path.is_dir()]
    assert len(places) == 6
    overview = (cluster / "README.md").read_text()
    for place in places:
        assert "Not run:" in (place / "README.md").read_text()
        assert f"({place.name}/README.md)" in overview


def test_ray_accepts_the_clouds_file(cluster):
    config = yaml.safe_load((cluster / "cloud" / "aws.yaml").read_text())
    validate_config(prepare_config(config))
    types = config["available_node_types"]
    assert config["max_workers"] == sum(node.get("min_workers", 0) for node in types.values()), "sizes are fixed"


def test_rays_check_finds_an_unknown_field_in_the_clouds_file(cluster):
    config = yaml.safe_load((cluster / "cloud" / "aws.yaml").read_text())
    with pytest.raises(Exception, match="max_wrokers"):
        validate_config(prepare_config({**config, "max_wrokers": 4}))


def test_the_manifests_ray_is_the_pinned_one(cluster):
    manifest = yaml.safe_load((cluster / "kubernetes" / "raycluster.yaml").read_text())
    assert manifest["spec"]["rayVersion"] == ray.__version__


def test_the_image_copies_what_exists_and_installs_what_is_declared():
    recipe = (ROOT / "cluster" / "docker" / "Dockerfile").read_text()
    ignored = (ROOT / "cluster" / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    sources = [word for line in re.findall(r"^COPY (.*)$", recipe, re.MULTILINE) for word in line.split()[:-1]]
    assert {"pam", "tune_spaces", "pyproject.toml"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored, "the build's context lacks it"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"'\.\[(.*?)\]'", recipe)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    assert re.search(r"^USER (?!root)", recipe, re.MULTILINE)
