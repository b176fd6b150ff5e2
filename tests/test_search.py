"""A search sees an inner validation split alone, goes on after a kill, and ends in an ordinary study."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState

from pam import cli, search, study
from pam.data.prepare import prepare
from pam.data.splits import inner
from pam.data.store import find
from pam.datasets import DATASETS
from pam.study import Study, Variant
from pam.sweep import arm
from pam.sweep.plan import bind, plan

ROOT = Path(__file__).resolve().parent.parent
HUNT = """
from pam.study import Range, Search, Study, Variant

STUDY = Study(
    question="Which settings suit?",
    dataset="phantom",
    reference=Variant("unet", {{"width": 2}}, label="unet"),
    variants=(),
    folds=2,
    seeds=2,
    recipe={{"epochs": {epochs}, "batch_size": 32, "precision": "float32"}},
    search=Search(
        space={{"learning_rate": Range(low=1e-3, high=1e-1, log=True), "augment": [(), ("horizontal_flip",)]}},
        trials={trials},
    ),
)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hunt.py").write_text(HUNT.format(epochs=3, trials=4))
    return tmp_path


def trials(home: Path) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{home}/searches/hunt/optuna.db"
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage).trials


def test_a_search_ends_in_a_study_of_its_winner_and_leaves_nothing_in_the_ledger(folder, pam_home, capsys):
    assert cli.guarded(search.main, ["hunt.py", "--address", "local"]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"^unet: trial \d: ", out, flags=re.MULTILINE)) == 4
    assert "winners in hunt_found.py; run: python -m pam.sweep hunt_found.py" in out
    ended = trials(pam_home)
    assert [trial.number for trial in ended] == [0, 1, 2, 3]
    assert {trial.state for trial in ended} <= {TrialState.COMPLETE, TrialState.PRUNED}
    # All trials were scored, and so compared, at the same epochs; only those that reached the last one can win.
    assert all(set(trial.intermediate_values) in ({1}, {1, 3}) for trial in ended)
    assert all((trial.state == TrialState.COMPLETE) == (3 in trial.intermediate_values) for trial in ended)
    assert not (pam_home / "ledger").exists() and not (pam_home / "studies").exists()
    assert list((pam_home / "checkpoints").iterdir()) == []

    found = study.load("hunt_found.py")
    best = max((t for t in ended if t.state == TrialState.COMPLETE), key=lambda trial: trial.value)
    assert found.reference == Variant("unet", {"width": 2}, label="unet")
    (winner,) = found.variants
    assert winner.name == "unet, found"
    assert winner.recipe["learning_rate"] == best.params["learning_rate"]
    assert repr(winner.recipe["augment"]) == best.params["augment"]
    cells = plan(found, find("phantom"))
    assert {(cell.fold, cell.seed) for cell, _ in cells} == {(0, 0), (0, 1)}  # only the fold that was not searched on

    before = [(trial.params, trial.value, trial.datetime_complete) for trial in ended]
    assert cli.guarded(search.main, ["hunt.py", "--address", "nowhere"]) == 0  # nothing to do: no cluster is joined
    assert [(trial.params, trial.value, trial.datetime_complete) for trial in trials(pam_home)] == before


def test_an_arm_is_trained_and_scored_inside_the_training_side():
    store = prepare(DATASETS.build("phantom"))
    for split in store.folds(5):
        inside = inner(split)
        assert set(inside.train) | set(inside.test) == set(split.train)
        assert not (set(inside.train) | set(inside.test)) & set(split.test)


def test_an_interrupted_arm_has_the_undisturbed_ones_scores_and_trains_no_epoch_again():
    store = prepare(DATASETS.build("phantom"))
    base = Study(
        question="?",
        dataset="phantom",
        reference=Variant("unet", {"width": 2}),
        variants=(),
        recipe={"epochs": 4, "batch_size": 32, "learning_rate": 0.03},
    )
    inside = inner(store.folds(5)[0])
    cell = bind(base.cells([0], [0])[0], store, inside)
    options = {"device": torch.device("cpu"), "rungs": (1, 3, 4)}
    undisturbed = list(arm.run(cell, inside, store, **options))
    assert [epoch for epoch, _ in undisturbed] == [1, 3, 4]
    from pam import checkpoints

    checkpoints.forget(arm.key(cell))
    first = arm.run(cell, inside, store, **options)
    assert [next(first), next(first)] == undisturbed[:2]
    first.close()
    state = checkpoints.load(arm.key(cell))
    assert state is not None and state["epoch"] == 3
    assert list(arm.run(cell, inside, store, **options)) == undisturbed


def test_an_arm_that_diverges_ends_with_nan():
    store = prepare(DATASETS.build("phantom"))
    base = Study(
        question="?",
        dataset="phantom",
        reference=Variant("unet", {"width": 2}),
        variants=(),
        recipe={"epochs": 3, "learning_rate": 1e30, "precision": "float32"},
    )
    inside = inner(store.folds(5)[0])
    cell = bind(base.cells([0], [0])[0], store, inside)
    (*_, (_, score)) = arm.run(cell, inside, store, device=torch.device("cpu"), rungs=(1, 3))
    assert math.isnan(score)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_goes_on_after_its_driver_was_killed_without_repeating_or_losing_a_trial(folder, pam_home):
    (folder / "hunt.py").write_text(HUNT.format(epochs=9, trials=4))
    command = [sys.executable, "-m", "pam.search", "hunt.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "unet: 0 of 4 trials done\n"
    # It is killed with trials that run and one that has ended; each takes a process, and so seconds.
    assert driver.stdout.readline().startswith("unet: trial ")
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = trials(pam_home)
    assert sum(trial.state.is_finished() for trial in before) >= 1
    time.sleep(2)  # its workers die with it
    finished = {t.number: (t.params, t.value, t.datetime_complete) for t in before if t.state.is_finished()}
    running = {t.number: t.params for t in before if not t.state.is_finished()}
    assert running
    rest = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert rest.returncode == 0, rest.stderr
    assert rest.stdout.startswith(f"unet: {len(finished)} of 4 trials done\n")
    after = {trial.number: trial for trial in trials(pam_home)}
    assert sorted(after) == list(range(4))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in after.values())
    for number, seen in finished.items():
        assert (after[number].params, after[number].value, after[number].datetime_complete) == seen
        assert f"trial {number}:" not in rest.stdout
    assert {number: after[number].params for number in running} == running
    drawn = [repr(sorted(trial.params.items())) for trial in after.values()]
    assert len(set(drawn)) == len(drawn)
    assert list((pam_home / "checkpoints").iterdir()) == []


MOODY = """
import torch
from torch import nn

from pam.networks.unet import unet


class Moody(nn.Module):
    def __init__(self, inside, mood):
        super().__init__()
        self.inside, self.mood = inside, mood

    def forward(self, images):
        if self.training and self.mood == "bad":
            raise torch.OutOfMemoryError("no room")
        return self.inside(images)


def moody(in_channels, *, width=2, mood="good"):
    return Moody(unet(in_channels, width=width), mood)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_trial_that_raises_fails_with_its_reason_and_the_search_goes_on(pam_home, one_cpu, tmp_path):
    (tmp_path / "moody.py").write_text(MOODY)
    (tmp_path / "moods.py").write_text(
        "from pam.study import Range, Search, Study, Variant\n"
        "STUDY = Study(question='?', dataset='phantom', reference=Variant('moody:moody', label='moody'), variants=(),\n"
        "    folds=2, recipe={'epochs': 1, 'batch_size': 32, 'precision': 'float32'},\n"
        "    search=Search(space={'mood': ['bad', 'good']}, trials=4))\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-m", "pam.search", "moods.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "failed: OutOfMemoryError: no room (mood=bad)" in run.stdout
    assert "Traceback" not in run.stderr
    assert "'mood': 'good'" in (tmp_path / "moods_found.py").read_text()


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ('{"epochs": [1, 2]}', "the space varies 'epochs'"),
        ('{"nope": [1, 2]}', "network 'unet' has no option 'nope'"),
        ('{"width": []}', r"no values for ['width']"),
        ("{}", "no values for anything"),
        ('{"learning_rate": Range(low=1, high=0.1)}', "range from 1 to 0.1"),
        ('{"learning_rate": [0.1, -1]}', "recipe field 'learning_rate' is -1"),
        ('{"loss": ["dice", "nope"]}', "unknown loss 'nope'"),
        ('{"width": [2]}, scheduler="pbt"', "scheduler 'pbt'; expected 'asha' or 'hyperband'"),
        ('{"width": [2]}, winners=30', "30 winners of 20 trials"),
        ('{"width": [2]}, fold=7', "the search is in fold 7; it has 5"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(space, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("bad.py").write_text(
        "from pam.study import Range, Search, Study, Variant\n"
        "STUDY = Study(question='?', dataset='phantom', reference=Variant('unet'), variants=(),\n"
        f"    search=Search(space={space}))\n"
    )
    assert cli.guarded(search.main, ["bad.py"]) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not Path("bad_found.py").exists()


def test_a_search_is_not_swept_a_study_not_searched_and_a_file_of_the_users_not_written_over(folder, capsys):
    from pam.sweep import __main__ as sweep

    assert cli.guarded(sweep.main, ["hunt.py"]) == cli.BAD_INPUT
    assert (
        "study 'hunt' declares a search, not rows to train; run: python -m pam.search hunt" in capsys.readouterr().err
    )
    assert cli.guarded(search.main, ["fpa_dilation", "--demo"]) == cli.BAD_INPUT
    assert "study 'fpa_dilation' declares no search" in capsys.readouterr().err
    Path("hunt_found.py").write_text("mine = 1\n")
    assert cli.guarded(search.main, ["hunt.py"]) == cli.BAD_INPUT
    assert "not made by a search, so it is not written over" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hyperband_and_whole_numbers_and_both_rows_are_searched(pam_home, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    Path("two.py").write_text(
        "from pam.study import Range, Search, Study, Variant\n"
        "STUDY = Study(question='?', dataset='phantom', reference=Variant('unet'), variants=(Variant('d6unet'),),\n"
        "    folds=2, recipe={'epochs': 1, 'batch_size': 32, 'precision': 'float32'},\n"
        "    search=Search(space={'width': Range(low=2, high=3)}, trials=3, scheduler='hyperband',\n"
        "    winners=2, seed=2))\n"
    )
    assert cli.guarded(search.main, ["two.py", "--address", "local"]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"trial \d: as trial \d", out)) == 2  # three draws of two values: one of each row is a twin
    found = {}
    exec(Path("two_found.py").read_text(), found)
    rows = [row.name for row in found["STUDY"].rows]
    assert rows == ["unet", "d6unet", "unet, found 1", "unet, found 2", "d6unet, found 1", "d6unet, found 2"]
    assert {row.options["width"] for row in found["STUDY"].variants[1:3]} == {2, 3}
