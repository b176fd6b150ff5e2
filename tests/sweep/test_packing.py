"""Cells that share GPUs: spread, confined to their own, and fewer on each once memory runs out. GPUs are logical."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pam import cli
from pam.data.prepare import prepare
from pam.datasets import DATASETS
from pam.errors import PamError
from pam.study import Study, Variant
from pam.sweep import __main__ as sweep
from pam.sweep import packing, schedule
from pam.sweep.packing import Placement
from pam.sweep.plan import plan
from pam.sweep.schedule import Resources

ROOT = Path(__file__).resolve().parents[2]
SPY = """
import json
import os
import time
from pathlib import Path

import ray
import torch

from pam.networks.unet import unet


def spied(in_channels, *, width: int = 2, greed: float = 0.0):
    '''A Unet that notes its GPU at each training step, and runs out of memory on less than `greed` of one.'''
    network = unet(in_channels, width=width)

    def look(module, inputs):
        if module.training and ray.is_initialized():
            share = ray.get_runtime_context().get_assigned_resources().get("GPU", 0)
            seen = {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "share": share, "pid": os.getpid()}
            with (Path(os.environ["SPY"]) / str(os.getpid())).open("a") as file:
                print(json.dumps(seen), file=file)
            if share < greed:
                raise torch.OutOfMemoryError("CUDA out of memory (the test's own)")
            time.sleep(0.2)

    network.register_forward_pre_hook(look)
    return network
"""
SPIED = """
from pam.study import Study, Variant

STUDY = Study(
    question="?",
    dataset="phantom",
    reference=Variant("spy:spied", {{"greed": {greed}}}, label="spied"),
    variants=(),
    folds={folds},
    seeds=1,
    recipe={{"epochs": 2, "batch_size": 60, "precision": "float32"}},
    cells_per_gpu={sharing},
)
"""


@pytest.fixture(scope="module")
def spy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The network's folder, in the environment of nodes that start: what they start with, their workers have."""
    folder = tmp_path_factory.mktemp("spy")
    (folder / "spy.py").write_text(SPY)
    (folder / "seen").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY", str(folder / "seen"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(autouse=True)
def _mlflow(new_home: Callable[[Path], Path], pam_home: Path) -> None:
    """A database of MLflow's that need not be made first."""
    new_home(pam_home)


@pytest.fixture(scope="module")
def logical(spy: Path, start_cluster: Callable[..., Any]) -> Iterator[tuple[str, str, Path]]:
    """A cluster with two logical GPUs and eight CPUs: addresses of head and dashboard, and the network's folder."""
    ports = {"dashboard_port": free_port(), "dashboard_agent_listen_port": free_port()}  # other clusters run, too
    cluster = start_cluster(num_cpus=8, num_gpus=2, include_dashboard=True, **ports)
    yield cluster.address, str(cluster.head_node.address_info["webui_url"]), spy
    cluster.shutdown()


@pytest.fixture
def single(spy: Path, start_cluster: Callable[..., Any]) -> Iterator[str]:
    """The address of a cluster with one logical GPU: half the workers that two would take to fill."""
    cluster = start_cluster(num_cpus=4, num_gpus=1)
    yield cluster.address
    cluster.shutdown()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def seen(folder: Path) -> list[dict[str, Any]]:
    """What each process saw at each step; forgotten then."""
    found = []
    for path in (folder / "seen").iterdir():
        found += [json.loads(line) for line in path.read_text().splitlines()]
        path.unlink()
    return found


def spied(folder: Path, *, sharing: object, greed: float = 0.0, folds: int = 4) -> str:
    path = folder / "spied.py"
    path.write_text(SPIED.format(sharing=repr(sharing), greed=greed, folds=folds))
    return str(path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_few_cells_spread_over_the_gpus_and_each_sees_its_own_alone(logical):
    address, _, folder = logical
    assert cli.guarded(sweep.main, [spied(folder, sharing=4, folds=3), "--address", address]) == 0
    found = seen(folder)
    assert {entry["share"] for entry in found} == {0.5}  # three cells, two GPUs: not all on one, though they would fit
    by_gpu = {gpu: {entry["pid"] for entry in found if entry["gpu"] == gpu} for gpu in ("0", "1")}
    assert all(by_gpu.values()), "a GPU was idle"
    assert sum(map(len, by_gpu.values())) == len({entry["pid"] for entry in found})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_in_a_submitted_job_each_cell_sees_its_own_gpu_alone_too(logical, pam_home):
    _, dashboard, folder = logical
    study = spied(folder, sharing=1, folds=2)
    names = ("SPY", "PYTHONPATH")
    variables = {"PAM_HOME": str(pam_home), **{name: os.environ[name] for name in names}}
    submit = [Path(sys.executable).with_name("ray"), "job", "submit", "--address", f"http://{dashboard}"]
    submit += ["--runtime-env-json", json.dumps({"env_vars": variables})]
    command = [sys.executable, "-m", "pam.sweep", study]
    for _ in range(60):  # a dashboard that has just started has no agent yet
        submitted = subprocess.run([*submit, "--", *command], capture_output=True, text=True, timeout=240, check=False)
        if "No available agent" not in submitted.stderr:
            break
        time.sleep(1)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "2 cells trained" in submitted.stdout
    assert {entry["gpu"] for entry in seen(folder)} == {"0", "1"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_out_of_memory_halves_the_packing_until_the_cells_fit(single, spy, capsys):
    study = spied(spy, sharing=4, greed=0.9, folds=4)
    assert cli.guarded(sweep.main, [study, "--address", single]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"out of GPU memory: (\d) cells? on each GPU from now on", out) == ["2", "1"]
    assert "4 cells trained, 0 done already, of 4" in out
    assert {entry["share"] for entry in seen(spy)} == {0.25, 0.5, 1.0}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cell_that_has_a_gpu_alone_and_runs_out_of_memory_fails(logical, capsys):
    address, _, folder = logical
    study = spied(folder, sharing=1, greed=1.5, folds=2)
    assert cli.guarded(sweep.main, [study, "--address", address, "--folds", "0"]) == 1
    out = capsys.readouterr().out
    assert "OutOfMemoryError" in out
    assert "on each GPU from now on" not in out
    seen(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_stops_the_cells_is_told_before_their_share_of_a_gpu_is_measured(logical, capsys):
    address, _, folder = logical
    begun = time.monotonic()
    study = spied(folder, sharing="auto")
    assert cli.guarded(sweep.main, [study, "--address", address, "--cpus", "1000"]) == cli.BAD_INPUT
    assert capsys.readouterr().err.startswith("error: a cell asks for 1000 CPUs and 1 GPU, but the nodes have 8 CPUs")
    assert time.monotonic() - begun < packing.MEASURE_SECONDS / 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_network_that_fails_where_it_is_measured_is_told_in_a_line_and_costs_the_others_nothing(logical, capsys):
    address, _, folder = logical
    study = spied(folder, sharing="auto", greed=9.0, folds=2)  # whatever GPU it has is too small
    assert cli.guarded(sweep.main, [study, "--address", address, "--dry-run"]) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert "spied: a few steps of it failed on the cluster (OutOfMemoryError: CUDA out of memory" in error
    assert error.count("\n") == 1
    assert cli.guarded(sweep.main, [study, "--address", address, "--folds", "0"]) == 1  # the cell tells why
    assert "1 cell failed" in capsys.readouterr().out
    seen(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cells_share_of_a_gpu(logical):
    address, _, _ = logical
    store = prepare(DATASETS.build("phantom"))
    study = Study(
        question="?",
        dataset="phantom",
        reference=Variant("unet", {"width": 2}),
        variants=(),
        folds=3,
        seeds=3,
        recipe={"batch_size": 4},
    )
    planned = plan(study, store)
    with schedule.cluster(address):
        for options, wanted, cells, share in (
            ({}, None, 9, 1.0),
            ({}, 2, 9, 0.5),
            ({"cells_per_gpu": 3}, 2, 9, 0.3333),
            ({"cells_per_gpu": 3}, None, 3, 0.5),
            ({"cells_per_gpu": 3, "cpus": 4}, None, 9, 1.0),  # its CPUs hold two cells at once
            ({"gpus": 0.25}, None, 9, 0.25),
            ({"gpus": 2}, None, 9, 2.0),
            ({"gpus": 0}, 4, 9, 0.0),
            ({"cells_per_gpu": "auto"}, None, 2, 1.0),  # measured, by a torch that finds no GPU
        ):
            found = packing.resources(Placement(**options), wanted, planned[:cells], store)
            assert found.gpus == share, options


@pytest.mark.parametrize(
    ("options", "wanted", "cells", "share"),
    [({}, "auto", 40, 0.2), ({}, "auto", 6, 0.3333), ({"cells_per_gpu": 2}, "auto", 40, 0.5), ({}, None, 40, 1.0)],
)
def test_a_measured_share_spreads_cells_over_the_gpus_too(options, wanted, cells, share):
    found = packing.share(Placement(**options), wanted, cells, gpus=2, by_cpu=16, measured=lambda: 5)
    assert found.gpus == share


@pytest.mark.parametrize("cells", [1, 2, 3, 6, 7, 12, 48, 70])
def test_as_many_cells_fit_on_a_gpu_as_are_asked_for_and_no_more(cells):
    resources = Resources.sharing_a_gpu(cells, cpus=1)
    steps = round(resources.gpus * schedule.GPU_STEPS)
    assert schedule.GPU_STEPS // steps == resources.sharing == cells


def test_packing_halves_down_to_one():
    sharing = [Resources.sharing_a_gpu(5, cpus=2)]
    while sharing[-1].sharing > 1:
        sharing.append(sharing[-1].roomier)
    assert [resources.sharing for resources in sharing] == [5, 2, 1]
    assert sharing[-1] == Resources(cpus=2, gpus=1.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cells_per_gpu": 0}, "--cells-per-gpu is 0; expected a whole number from 1 to 100, or auto"),
        ({"cells_per_gpu": "many"}, "--cells-per-gpu is 'many'"),
        ({"cells_per_gpu": 2, "gpus": 0.5}, "--gpus and --cells-per-gpu say the same"),
    ],
)
def test_bad_placements_are_told(options, said):
    with pytest.raises(PamError, match=re.escape(said)):
        Placement(**options)
