"""One small study, swept by real processes under faults, and compared with the same study undisturbed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

STUDY = """
from pam.study import Study, Variant, grid

STUDY = Study(
    question="Does the result depend on what goes wrong?",
    dataset="phantom",
    reference=Variant("faulty:faulty"),
    variants=grid(Variant("faulty:faulty"), width=[2]),
    folds=2,
    seeds=1,
    recipe={"epochs": 4},
)
"""
CELLS, EPOCHS = 4, 4
EVERY_EPOCH = ("--checkpoint-seconds", "0")
QUICK = {"RAY_worker_niceness": "0"}  # Ray's workers are polite by default, and wait on a machine that is busy
PATIENCE = 400.0  # a hang is told from a machine that is busy


@dataclass(frozen=True)
class Disturbed:
    """A folder with the study and its network; PAM_HOME is its `home`."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def environment(self) -> dict[str, str]:
        paths = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {**os.environ, "PAM_HOME": str(self.home), "PYTHONPATH": paths, "RAY_AUTH_MODE": "disabled", **QUICK}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return self._start("pam.sweep", "study.py", *EVERY_EPOCH, *words, **environment)

    def _start(self, module: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "-m", module, *words]
        with (self.folder / "output").open("a") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environment(), **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def sweep(self, *words: str, **environment: str) -> tuple[int, str]:
        """Exit code and all that was printed, by a sweep that is waited for."""
        return self.run("pam.sweep", "study.py", *EVERY_EPOCH, *words, **environment)

    def run(self, module: str, *words: str, **environment: str) -> tuple[int, str]:
        """Exit code and all that was printed, by `python -m MODULE`."""
        before = len(self.output())
        with self._start(module, *words, **environment) as process:
            code = self.ended(process)
        return code, self.output()[before:]

    def stop(self, process: subprocess.Popen[str], number: signal.Signals) -> int:
        """The exit code of a sweep that was sent a signal."""
        process.send_signal(number)
        return self.ended(process)

    def ended(self, process: subprocess.Popen[str]) -> int:
        try:
            return process.wait(PATIENCE)
        finally:
            if process.poll() is None:  # it hangs: the test fails, and leaves nothing behind
                process.kill()

    def output(self) -> str:
        path = self.folder / "output"
        return path.read_text() if path.exists() else ""

    def plan(self, *kinds: str, step: int, again: bool = False) -> None:
        """The faults: one for each of the first cells that come to the step, of each process that trains one."""
        for path in (*self.folder.glob("strike-*"), self.folder / "paused", self.folder / "go"):  # of an earlier plan
            path.unlink(missing_ok=True)
        (self.folder / "plan.json").write_text(json.dumps({"step": step, "kinds": kinds, "again": again}))

    def until(self, fact: Callable[[], bool]) -> None:
        """Wait for a fact, such as that a cell is paused in the middle of a step."""
        start = time.monotonic()
        while not fact():
            assert time.monotonic() - start < PATIENCE, self.output()
            time.sleep(0.05)

    def paused(self) -> bool:
        return (self.folder / "paused").exists()

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def alone(self) -> bool:
        """Whether every process that trained a cell is gone."""
        processes = {int(line.split()[2]) for line in (self.folder / "steps").read_text().splitlines()}
        return not any(psutil.pid_exists(pid) for pid in processes)

    def steps(self, kind: str) -> Counter[str]:
        """Forward passes by cell, as the network counted them; kind: "train" or "score".

        Those of a network that was never trained are left out: a sweep builds one to check the study.
        """
        lines = [line.split() for line in (self.folder / "steps").read_text().splitlines()]
        trained = {key for key, what, _ in lines if what == "train"}
        return Counter(key for key, what, _ in lines if what == kind and key in trained)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    """The study swept without any fault."""
    reference = Disturbed(tmp_path_factory.mktemp("undisturbed"))
    _fill(reference.folder)
    code, output = reference.sweep()
    assert code == 0, output
    assert len(reference.steps("train")) == CELLS
    return reference


@pytest.fixture
def disturbed(undisturbed: Disturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disturbed]:
    """The study before its first cell, its data prepared."""
    folder = Disturbed(tmp_path)
    _fill(tmp_path)
    shutil.copytree(undisturbed.home / "prepared", folder.home / "prepared")
    monkeypatch.setenv("PAM_HOME", str(folder.home))
    yield folder
    if (tmp_path / "go").parent.exists():
        folder.let_go()  # whatever a failed test left paused


def _fill(folder: Path) -> None:
    (folder / "study.py").write_text(STUDY)
    shutil.copy(Path(__file__).with_name("faulty.py"), folder)


@pytest.fixture
def same(undisturbed: Disturbed, disturbed: Disturbed, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Asserts that the disturbed study ended like the undisturbed one, in ledger, tables and MLflow."""

    def assert_same(*, intervals: int = 0, scored_once: bool = True) -> None:
        """`intervals`: how many checkpoint intervals of how many cells may have been trained twice."""
        with monkeypatch.context() as patch:
            patch.setenv("PAM_HOME", str(undisturbed.home))
            ids, entries, table = _results()
        found_ids, found, found_table = _results()
        assert found_ids == ids
        assert len(found) == CELLS
        for cell_id, entry in entries.items():
            assert found[cell_id].slices.equals(entry.slices)
            assert found[cell_id].cases.equals(entry.cases)
            assert list(found[cell_id].epochs.loss) == list(entry.epochs.loss)
        assert found_table == table
        if scored_once:
            assert disturbed.steps("score") == undisturbed.steps("score")  # none was trained to completion twice
        interval = max(undisturbed.steps("train").values()) // EPOCHS
        again = sum((disturbed.steps("train") - undisturbed.steps("train")).values())
        assert again <= intervals * interval
        leases = disturbed.home / "leases"
        assert not leases.exists() or list(leases.iterdir()) == []
        _assert_mirrored(ids)

    return assert_same


def _results() -> tuple[list[str], dict, list[str]]:
    """Cells asked for, their entries, and the rows of the study's table but for what is measured, in PAM_HOME."""
    from pam import ledger, manifest, study
    from pam.report import tables

    asked = manifest.read("study")
    ids = [cell["id"] for cell in asked["cells"]]
    declared = study.Study(
        name="study",
        question="",
        dataset="phantom",
        reference=study.Variant("faulty:faulty"),
        variants=study.grid(study.Variant("faulty:faulty"), width=[2]),
        folds=2,
        seeds=1,
    )
    table = tables.build(asked, declared, tables.collect(asked))
    rows = [repr((row.label, row.scores, row.parameters, row.slices, row.cells, row.missing)) for row in table.rows]
    return ids, {cell_id: ledger.read(cell_id) for cell_id in ids if ledger.has(cell_id)}, rows


@pytest.fixture
def running(disturbed: Disturbed) -> Callable[[], list[str]]:  # its PAM_HOME
    """The names of runs that MLflow shows as RUNNING."""
    return lambda: [run.info.run_name for run in _runs() if run.info.status == "RUNNING"]


def _runs() -> list[Any]:
    """All runs that MLflow holds of the study."""
    from mlflow.tracking import MlflowClient

    from pam import track

    client = MlflowClient(track.tracking_uri())
    (experiment,) = [e for e in client.search_experiments() if e.name == "study on phantom"]
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def _assert_mirrored(ids: list[str]) -> None:
    """Every cell has one run, every variant one parent, all are whole, none is RUNNING, no epoch is there twice."""
    from mlflow.tracking import MlflowClient

    from pam import home, track

    client = MlflowClient(track.tracking_uri())
    runs = _runs()
    children = [run for run in runs if "pam.cell" in run.data.tags]
    assert sorted(run.data.tags["pam.cell"] for run in children) == sorted(ids)
    assert len(runs) - len(children) == 2 + 1  # the variants, and the study itself
    assert {run.info.status for run in runs} == {"FINISHED"}
    noted = json.loads((home.runs() / "study" / "phantom.json").read_text())
    assert noted == {run.data.tags["pam.cell"]: run.info.run_id for run in children}
    assert all(run.data.params and run.inputs.dataset_inputs for run in runs if "pam.report" not in run.data.tags)
    for run in children:
        steps = sorted(metric.step for metric in client.get_metric_history(run.info.run_id, "loss"))
        assert steps == list(range(1, EPOCHS + 1))
