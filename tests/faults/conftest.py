"""One small study, swept by real processes under faults, and compared with the same study undisturbed.

Processor time is what these tests cost, most of it for processes that start: so most sweep a part of the study, one
cell at a time; and what goes on when the fault is over runs in the test's own process, on a cluster that others join.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from pam import ledger, manifest

STUDY = """
from pam.study import Study, Variant, grid

STUDY = Study(
    question="Does the result depend on what goes wrong?",
    dataset="phantom",
    reference=Variant("faulty:faulty"),
    variants=grid(Variant("faulty:faulty"), width=[2]),
    folds=2,
    seeds=1,
    recipe={"epochs": 3, "precision": "float32"},
)
"""
CELLS, EPOCHS = 4, 3
EVERY_EPOCH = ("--checkpoint-seconds", "0")
QUICK = {"RAY_worker_niceness": "0"}  # Ray's workers are polite by default, and wait on a machine that is busy
ONE_CPU = {"RAY_OVERRIDE_RESOURCES": '{"CPU": 1}'}  # for a sweep's own Ray: a cell at a time
PATIENCE = 400.0  # a hang is told from a machine that is busy


def authentication() -> dict[str, str]:
    """One way for all processes: a Ray that another test started in this one may have turned tokens on, for good."""
    return {"RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "disabled")}


@dataclass(frozen=True)
class Disturbed:
    """A folder with the study and its network; PAM_HOME is its `home`."""

    folder: Path
    part: ClassVar = ("--folds", "0")  # the words that ask for a cell of each variant

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def environment(self) -> dict[str, str]:
        paths = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {**os.environ, "PAM_HOME": str(self.home), "PYTHONPATH": paths, **authentication(), **QUICK}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return self._start("pam.sweep", "study.py", *EVERY_EPOCH, *words, **environment)

    def _start(self, module: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "-m", module, *words]
        with (self.folder / "output").open("a") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environment(), **ONE_CPU, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def sweep(self, *words: str, **environment: str) -> tuple[int, str]:
        """Exit code and all that was printed, by a sweep that is waited for."""
        return self.run("pam.sweep", "study.py", *EVERY_EPOCH, *words, **environment)

    def sweep_here(self, *words: str) -> tuple[int, str]:
        """The same in this process, whose PAM_HOME is the folder's; on a cluster, or with nothing to train."""
        from pam.sweep import __main__ as sweep

        return self._here(sweep.main, "study.py", *EVERY_EPOCH, *words)

    def sync_here(self) -> tuple[int, str]:
        from pam.track import __main__ as track

        return self._here(track.main, "sync")

    def _here(self, main: Callable[[Sequence[str] | None], int], *words: str) -> tuple[int, str]:
        from pam import cli

        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, chdir(self.folder):
            patch.syspath_prepend(self.folder)
            patch.delitem(sys.modules, "faulty", raising=False)  # another folder's
            with redirect_stdout(said), redirect_stderr(said):
                code = cli.guarded(main, words)
        return code, said.getvalue()

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

    def until(self, fact: Callable[[], bool], *, every: float = 0.05) -> None:
        """Wait for a fact, such as that a cell is paused in the middle of a step; `every`: seconds between looks."""
        start = time.monotonic()
        while not fact():
            assert time.monotonic() - start < PATIENCE, self.output()
            time.sleep(every)

    def paused(self) -> bool:
        return (self.folder / "paused").exists()

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def let_go_once(self) -> None:
        """What is paused goes on; what comes to the plan's step later pauses again."""
        before = self.steps("train")
        self.let_go()
        self.until(lambda: all(self.steps("train")[cell] > count for cell, count in before.items()))
        for name in ("go", "paused"):
            (self.folder / name).unlink()

    def alone(self) -> bool:
        """Whether every process that trained a cell is gone."""
        processes = {int(line.split()[2]) for line in (self.folder / "steps").read_text().splitlines()}
        return not any(psutil.pid_exists(pid) for pid in processes)

    def struck(self, number: int) -> int:
        """The process that trains the cell that took the plan's fault of this number."""
        struck = (self.folder / f"strike-{number}").read_text()
        lines = [line.split() for line in (self.folder / "steps").read_text().splitlines()]
        return [int(pid) for key, _, pid in lines if key == struck][-1]

    def steps(self, kind: str) -> Counter[str]:
        """Forward passes by cell, as the network counted them; kind: "train" or "score".

        Those of a network that was never trained are left out: a sweep builds one to check the study.
        """
        lines = [line.split() for line in (self.folder / "steps").read_text().splitlines()]
        trained = {key for key, what, _ in lines if what == "train"}
        return Counter(key for key, what, _ in lines if what == kind and key in trained)


@pytest.fixture(scope="session")
def undisturbed(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    """The study trained without any fault, and without Ray, by one process; all that share a run of the tests wait."""
    whole = Disturbed(shared_folder / "undisturbed")
    with (shared_folder / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.folder.exists():
            made = Disturbed(tmp_path_factory.mktemp("undisturbed"))
            _fill(made.folder)
            code, output = made.run("pam.train", "study.py", "--all")
            assert code == 0, output
            made.folder.rename(whole.folder)
    assert len(whole.steps("train")) == CELLS
    return whole


@pytest.fixture
def disturbed(
    undisturbed: Disturbed, tmp_path: Path, new_home: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Disturbed]:
    """The study before its first cell, its data prepared."""
    folder = Disturbed(tmp_path)
    _fill(tmp_path)
    shutil.copytree(undisturbed.home / "prepared", new_home(folder.home) / "prepared")
    monkeypatch.setenv("PAM_HOME", str(folder.home))
    yield folder
    if (tmp_path / "go").parent.exists():
        folder.let_go()  # whatever a failed test left paused


@pytest.fixture(scope="module")
def head(start_cluster: Callable[..., Any]) -> Iterator[str]:
    """The address of a Ray cluster that trains a cell at a time: to join one takes less than to start one."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**authentication(), **QUICK}.items():  # what nodes start with, their workers have
            patch.setenv(name, value)
        cluster = start_cluster(num_cpus=1)
        yield cluster.address
        cluster.shutdown()


def _fill(folder: Path) -> None:
    (folder / "study.py").write_text(STUDY)
    shutil.copy(Path(__file__).with_name("faulty.py"), folder)


@pytest.fixture
def same(undisturbed: Disturbed, disturbed: Disturbed, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Asserts that the disturbed study ended like the undisturbed one, in ledger, tables and MLflow."""

    def assert_same(*, cells: int = CELLS // 2, intervals: int = 0, scored_once: bool = True) -> None:
        """`cells`: asked for; `intervals`: how many checkpoint intervals of how many cells may be trained twice."""
        asked = manifest.read("study")
        found, found_table = _results(asked)
        with monkeypatch.context() as patch:
            patch.setenv("PAM_HOME", str(undisturbed.home))
            entries, table = _results(asked)
        assert found.keys() == entries.keys()
        assert len(found) == cells
        for cell_id, entry in entries.items():
            assert found[cell_id].slices.equals(entry.slices)
            assert found[cell_id].cases.equals(entry.cases)
            assert list(found[cell_id].epochs.loss) == list(entry.epochs.loss)
        assert found_table == table
        scored = disturbed.steps("score")
        assert len(scored) == cells
        if scored_once:
            assert scored <= undisturbed.steps("score")  # none was trained to completion twice
        whole = undisturbed.steps("train")
        again = sum((disturbed.steps("train") - whole).values())
        assert again <= intervals * (max(whole.values()) // EPOCHS)
        leases = disturbed.home / "leases"
        assert not leases.exists() or list(leases.iterdir()) == []
        _assert_mirrored(list(found))

    return assert_same


def _results(asked: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The entries of the cells asked for, and the rows of their table but for what is measured, in PAM_HOME."""
    from pam import study
    from pam.report import tables

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
    return {cell_id: ledger.read(cell_id) for cell_id in ids if ledger.has(cell_id)}, rows


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
