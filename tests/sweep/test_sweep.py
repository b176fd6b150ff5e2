"""The sweep as its user meets it, with real Ray and MLflow; one small study, swept again and again.

The first sweep is a process that starts Ray; most later ones run in this process, on one cluster that they join.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mlflow.tracking import MlflowClient

from pam import cli, failures, ledger, manifest, study, track
from pam.data.store import find
from pam.sweep import __main__ as sweep
from pam.sweep.plan import plan

STUDY = """
from pam.study import Study, Variant, grid

STUDY = Study(
    question="Does anything work?",
    dataset="phantom",
    reference=Variant("unet"),
    variants=grid(Variant("fpa"), dilation=[2]),
    folds=2,
    seeds=1,
    recipe={"epochs": 2},
)
"""
SMALL = ["--set", "width=4"]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Sweep = Callable[..., Ended]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    """A folder with a study in it that was swept once; PAM_HOME is its `home`."""
    folder = tmp_path_factory.mktemp("swept")
    new_home(folder / "home")
    (folder / "small.py").write_text(STUDY)
    with started(folder, *SMALL) as process:
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    (folder / "stdout").write_text(out)
    (folder / "stderr").write_text(err)
    return folder


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "pam.sweep", "small.py", *words],
        cwd=folder,
        env={**os.environ, "PAM_HOME": str(folder / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def home(swept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAM_HOME", str(swept / "home"))
    return swept / "home"


@pytest.fixture(scope="module")
def address(swept: Path, start_cluster: Callable[..., Any]) -> Iterator[str]:
    # One CPU, so one process that trains cells: each costs ten seconds before its first cell.
    cluster = start_cluster(num_cpus=1)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def again(swept: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sweep:
    """Sweeps the study, with these words."""
    monkeypatch.chdir(swept)

    def sweep_again(*words: str) -> Ended:
        capsys.readouterr()
        code = cli.guarded(sweep.main, ["small.py", *SMALL, *words])
        return Ended(code, *capsys.readouterr())

    return sweep_again


def cell_ids() -> list[str]:
    return [cell["id"] for cell in manifest.read("small")["cells"]]


def runs(client: MlflowClient) -> list:
    (experiment,) = [e for e in client.search_experiments() if e.name == "small on phantom"]
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def test_every_cell_is_in_the_ledger_and_on_a_line_of_its_own(swept, home):
    assert len(cell_ids()) == 4
    assert all(ledger.has(cell) for cell in cell_ids())
    lines = (swept / "stdout").read_text().splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["1/4", "2/4", "3/4", "4/4"]
    assert "4 cells trained" in lines[4]
    assert "phantom" in lines[4]


def test_ray_is_quiet(swept):
    assert (swept / "stderr").read_text() == ""
    assert len((swept / "stdout").read_text().splitlines()) == 6


def test_mlflow_holds_a_parent_per_variant_with_aggregates_and_a_child_per_cell(home):
    client = MlflowClient(track.tracking_uri())
    everything = runs(client)
    parents = {run.info.run_id: run for run in everything if "pam.variant" in run.data.tags}
    children = [run for run in everything if "pam.cell" in run.data.tags]
    assert {run.info.run_name for run in parents.values()} == {"unet", "fpa dilation=2"}
    assert sorted(run.data.tags["pam.cell"] for run in children) == sorted(cell_ids())
    assert all(run.info.status == "FINISHED" for run in everything)
    for parent in parents.values():
        assert parent.data.metrics["n"] == 2
        mine = [run for run in children if run.data.tags["mlflow.parentRunId"] == parent.info.run_id]
        mean = sum(run.data.metrics["patient_dice"] for run in mine) / len(mine)
        assert parent.data.metrics["patient_dice_mean"] == pytest.approx(mean)


def test_a_childs_run_holds_learning_curve_parameters_provenance_and_the_parquet_files(home):
    client = MlflowClient(track.tracking_uri())
    child = next(run for run in runs(client) if "pam.cell" in run.data.tags)
    steps = [metric.step for metric in client.get_metric_history(child.info.run_id, "loss")]
    assert steps == [1, 2]
    assert child.data.params["epochs"] == "2"
    assert child.data.params["width"] == "4"
    assert child.data.tags["pam.data_hash"] == find("phantom").hash
    assert {"pam.git_commit", "pam.packages.torch", "pam.device"} <= set(child.data.tags)
    assert child.info.end_time - child.info.start_time == round(1000 * float(child.data.tags["pam.train_seconds"]))
    assert child.data.metrics["system/cpu_percent"] > 0
    assert len(client.get_metric_history(child.info.run_id, "system/memory_mb")) == 2
    files = {file.path for file in client.list_artifacts(child.info.run_id)}
    assert files == {"configuration.json", "ledger", "log", "model", "overlays"}
    tables = {file.path for file in client.list_artifacts(child.info.run_id, "ledger")}
    assert {f"ledger/{name}" for name in ("slices.parquet", "cases.parquet", "epochs.parquet", "cell.json")} <= tables
    overlays = {Path(file.path).name.partition("_")[0] for file in client.list_artifacts(child.info.run_id, "overlays")}
    assert overlays <= {"worst", "middle", "best"}
    path = client.download_artifacts(child.info.run_id, "configuration.json")
    configuration = json.loads(Path(path).read_text())
    assert configuration["cell"] == child.data.tags["pam.cell"]
    assert (configuration["options"]["width"], configuration["recipe"]["epochs"]) == (4, 2)
    assert configuration["recipe"]["weight_decay"] == 0.01  # a default, written out


def test_the_same_sweep_again_trains_nothing_and_says_so_in_a_line(again, tmp_path, monkeypatch):
    before = {cell: ledger.read(cell).provenance for cell in cell_ids()}
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    ended = again()
    assert ended.code == 0
    assert "all done already (4 cells), nothing to train" in ended.out
    assert {cell: ledger.read(cell).provenance for cell in cell_ids()} == before
    assert list(tmp_path.iterdir()) == []  # no cluster was started for nothing


def test_without_one_ledger_entry_only_that_cell_trains_and_its_scores_return_bit_for_bit(again, address):
    lost, *kept = cell_ids()
    before = ledger.read(lost)
    untouched = {cell: ledger.read(cell).provenance for cell in kept}
    ledger.remove(lost)
    assert "1 cell trained, 3 done already, of 4" in again("--address", address).out
    assert {cell: ledger.read(cell).provenance for cell in kept} == untouched
    after = ledger.read(lost)
    assert after.slices.equals(before.slices)
    assert after.cases.equals(before.cases)
    assert list(after.epochs.loss) == list(before.epochs.loss)
    children = [run for run in runs(MlflowClient(track.tracking_uri())) if "pam.cell" in run.data.tags]
    assert sorted(run.data.tags["pam.cell"] for run in children) == sorted(cell_ids())


def test_an_empty_mlflow_is_filled_from_the_ledger(again, tmp_path, monkeypatch):
    empty = f"sqlite:///{tmp_path}/empty.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty)
    assert again().code == 0
    children = [run for run in runs(MlflowClient(empty)) if "pam.cell" in run.data.tags]
    assert sorted(run.data.tags["pam.cell"] for run in children) == sorted(cell_ids())
    assert all(run.data.metrics["patient_dice"] >= 0 for run in children)


DIVERGING = ["--set", "learning_rate=1e30", "--set", "precision=float32", "--folds", "0"]


def test_cells_that_diverge_are_recorded_reported_and_counted_and_train_again_only_when_asked(again, address):
    first = again(*DIVERGING, "--address", address)
    assert first.code == 1
    lines = first.out.splitlines()
    assert (
        sum(": diverged: the loss became nan in epoch 1" in line for line in lines) == 4
    )  # as it happened, and at last
    assert "2 cells diverged; to train again: add --rerun diverged" in lines
    ids = [cell["id"] for cell in manifest.read("small")["cells"]]
    records = {cell: record for cell in ids if (record := failures.read(cell)) is not None}
    assert len(records) == 2
    assert {record.kind for record in records.values()} == {failures.DIVERGED}
    ended = {r.data.tags["pam.cell"]: r for r in runs(MlflowClient(track.tracking_uri())) if "pam.cell" in r.data.tags}
    for cell in records:
        assert ended[cell].info.status == "FAILED"
        assert ended[cell].data.tags["pam.outcome"] == "diverged"
        assert "nan in epoch 1" in ended[cell].data.tags["pam.reason"]
    assert "RUNNING" not in {run.info.status for run in ended.values()}

    second = again(*DIVERGING)  # a sweep that trains nothing needs no cluster
    assert second.code == 1
    assert "0 cells trained" in second.out
    assert {cell: failures.read(cell) for cell in records} == records

    one = next(iter(records))
    rerun = again(*DIVERGING, "--rerun", one, "--max-failures", "0", "--address", address)
    assert rerun.code == 1
    assert "1 cell failed or diverged, more than the 0 allowed" in rerun.out
    assert [cell for cell in records if failures.read(cell) != records[cell]] == [one]
    again()  # the study as it was is the newest again


def test_an_interrupted_sweep_goes_on_where_it_stopped(swept, again, address):
    words = ["--set", "epochs=3", "--address", address]
    with started(swept, *SMALL, *words) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert re.match("1/4 ", first)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == cli.INTERRUPTED, out
    assert "the same command goes on" in out
    done = sum(ledger.has(cell) for cell in cell_ids())
    assert 1 <= done < 4
    ended = again(*words)
    assert ended.code == 0
    assert f"{4 - done} cells trained, {done} done already" in ended.out


def test_nothing_is_kept_of_finished_cells_where_that_is_asked_and_a_budget_too_small_is_told(again, address, home):
    words = ["--set", "epochs=1", "--folds", "0", "--address", address]
    small = again(*words, "--disk-budget", "0.000001")
    assert small.code == cli.BAD_INPUT
    assert re.match(r"error: disk budget of 1e-06 GB: .*; raise --disk-budget\n", small.err)
    before = set((home / "checkpoints").iterdir())
    assert before  # of cells whose weights are kept
    assert again(*words, "--keep", "nothing").code == 0
    ids = [cell["id"] for cell in manifest.read("small")["cells"]]
    assert all(ledger.has(cell) for cell in ids)
    assert set((home / "checkpoints").iterdir()) == before
    again()  # the study as it was is the newest again


def test_other_settings_are_other_cells(home):
    declared = study.load(str(home.parent / "small.py"))
    ids = {cell.id for cell, _ in plan(declared, find("phantom"))}
    assert ids.isdisjoint(cell_ids())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope"], r"error: unknown study 'nope'; there are: .*fpa_dilation"),
        (["fpa_dilation", "--dataset", "nope"], r"error: unknown data set 'nope'; there are: .*brats2018"),
        (["fpa_dilation", "--dataset", "brats2018"], r"error: .*python -m pam.prepare brats2018 --source"),
        (["fpa_dilation", "--demo", "--set", "nope=1"], r"error: network 'unet' has no option 'nope'; it has: .*width"),
        (["fpa_dilation", "--demo", "--set", "dilation=3"], r"error: --set dilation: study 'fpa_dilation' varies it"),
        (["fpa_dilation", "--demo", "--set", "epochs=many"], r"error: recipe field 'epochs' is 'many'; expected .* 80"),
        (["fpa_dilation", "--demo", "--set", "split=x"], r"error: study field 'split' is 'x'; expected one of: folds"),
        (["fpa_dilation", "--demo", "--set", "epochs"], r"error: --set 'epochs': expected KEY=VALUE"),
        (["fpa_dilation", "--demo", "--folds", "7"], r"error: study 'fpa_dilation' has no fold 7; it has: 0, 1, 2"),
        (["fpa_dilation", "--demo", "--folds", "x"], r"error: argument --folds: 'x'; expected numbers"),
        (["fpa_dilation", "--demo", "--cpus", "0"], r"error: --cpus is 0"),
        (["fpa_dilation", "--demo", "--gpus", "1.5"], r"error: --gpus is 1.5"),
        (["fpa_dilation", "--demo", "--rerun", "nope"], r"error: --rerun nope: not a cell of this sweep; .*diverged"),
        (["fpa_dilation", "--demo", "--max-failures", "-1"], r"error: --max-failures is -1; expected"),
        ([], r"error: no study named; there are: .*fpa_dilation"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(words, message, capsys):
    assert cli.guarded(sweep.main, words) == cli.BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(message + ".*\n", err), err
    assert not (Path(os.environ["PAM_HOME"]) / "studies").exists()
