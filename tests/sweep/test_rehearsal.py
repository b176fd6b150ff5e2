"""The dry run measures what it says, does the arithmetic, and leaves nothing behind."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pam import cells, cli, failures
from pam.data.prepare import prepare
from pam.data.store import Store
from pam.datasets import DATASETS
from pam.study import Study, Variant
from pam.study import load as load_study
from pam.sweep import __main__ as sweep
from pam.sweep import estimate, rehearsal
from pam.sweep.estimate import Estimate, Machines
from pam.sweep.measure import Cost, Gpu, measure
from pam.sweep.plan import plan
from pam.sweep.prediction import predict
from pam.sweep.request import Request, resolve

STUDY = Study(
    question="?",
    dataset="phantom",
    reference=Variant("unet", {"width": 2}, label="unet"),
    variants=(Variant("fpa", {"width": 2}, label="fpa"),),
    folds=2,
    seeds=2,
    recipe={"epochs": 3, "batch_size": 10, "slices": "all"},
)
COST = Cost(
    step_seconds=2.0,
    score_seconds=0.5,
    memory_mb=400.0,
    gpu=None,
    device="cpu × 1",
)
WORDS = [
    "fpa_dilation",
    "--demo",
    "--set",
    "width=2",
    "--only",
    "unet",
    "--only",
    "fpa dilation=6 expansion=4",
    "--dry-run",
]


@pytest.fixture
def store() -> Store:
    return prepare(DATASETS.build("phantom"))


def estimated(store: Store, cost: Cost = COST, machines: Machines | None = None, gpus: float = 0.0) -> Estimate:
    planned = plan(STUDY, store)
    costs = {estimate.kind(cell): cost for cell, _ in planned}
    return Estimate(
        store=store,
        planned=planned,
        costs=costs,
        machines=machines or Machines(words="4 cores", at_once=4, gpus=0),
        gpus=gpus,
    )


def test_time_is_steps_times_epochs_plus_scoring_plus_scheduling(store):
    found = estimated(store)  # 20 patients of 12 slices, 10 of them on each side of each split
    assert [found.epoch_seconds([cell]) for cell, _ in found.planned] == [12 * 2.0] * 8
    per_cell = 3 * 12 * 2.0 + 120 * 0.5 + estimate.CELL_SECONDS
    assert found.cell_seconds == pytest.approx(8 * per_cell)
    assert found.wall_seconds == pytest.approx(2 * per_cell)


def test_cells_that_share_a_gpu_gain_only_the_time_in_which_it_idles(store):
    busy = replace(COST, gpu=Gpu(peak_mb=1000.0, busy=0.5, total_mb=80_000.0))
    machines = Machines(words="2 GPUs", at_once=16, gpus=2)
    alone, shared = (estimated(store, busy, machines, gpus) for gpus in (1.0, 0.25))
    assert (alone.at_once, shared.at_once) == (2, 8)
    assert alone.wall_seconds == pytest.approx(alone.cell_seconds / 2)
    assert shared.wall_seconds == pytest.approx(shared.cell_seconds / 4)  # two GPUs, each twice as fast at most
    assert shared.gpu_hours == pytest.approx(2 * shared.wall_seconds / 3600)


@pytest.mark.parametrize(
    ("peak_mb", "busy", "cells"),
    [(1000.0, 0.5, 2), (1000.0, 0.3, 4), (30_000.0, 0.3, 2), (79_000.0, 0.1, 1), (1000.0, 1.0, 1), (1000.0, 0.0, 48)],
)
def test_the_cells_that_suit_a_gpu_fill_its_time_within_its_memory(peak_mb, busy, cells):
    hungry = replace(COST, gpu=Gpu(peak_mb=peak_mb, busy=busy, total_mb=80_000.0))
    small = replace(COST, gpu=Gpu(peak_mb=500.0, busy=0.0, total_mb=80_000.0))
    assert estimate.suggest([small, hungry]) == cells
    assert estimate.suggest([COST]) is None


def test_a_wider_network_takes_longer(store):
    cell, split = plan(STUDY, store)[0]
    narrow, wide = (measure(one, split, store, cpus=1) for one in (cell, replace(cell, options={"width": 16})))
    assert wide.step_seconds > narrow.step_seconds > 0
    assert wide.memory_mb > 0


@pytest.mark.parametrize("address", [[], ["--address", "local"]], ids=["in this process", "in Ray's workers"])
def test_a_dry_run_says_what_there_is_to_do_and_then_nothing_else_happens(address, pam_home: Path, monkeypatch, capsys):
    monkeypatch.setattr(rehearsal, "TIMED", math.inf)  # else a busy machine predicts what it has no time to measure
    assert cli.guarded(sweep.main, [*WORDS, *address]) == 0
    out = capsys.readouterr().out
    assert out.startswith("fpa_dilation on BRATS-like phantom: 6 cells, 0 done, 6 to do\n")
    assert re.search(r"^unet +3 +5 +[\d.]+ +[\d.]+ [MG]iB$", out, flags=re.MULTILINE)
    assert re.search(r"^time  \d:\d\d:\d\d on .*, \d cells at once; \d:\d\d:\d\d one at a time$", out, re.MULTILINE)
    assert re.search(r"^disk  \d+ MiB in .*; [\d.]+ [MG]iB are free$", out, flags=re.MULTILINE)
    assert [path.name for path in pam_home.iterdir()] == ["prepared"]


def test_the_totals_of_a_machine_with_gpus_tell_gpu_hours_and_how_many_cells_suit_each(store):
    busy = replace(COST, gpu=Gpu(peak_mb=1000.0, busy=0.5, total_mb=80_000.0))
    machines = Machines(words="2 GPUs", at_once=16, gpus=2)
    told = rehearsal._totals(estimated(store, busy, machines, gpus=0.5), keep_weights=True)
    assert re.match(r"time  [\d.]+ GPU-hours, \d:\d\d:\d\d on 2 GPUs, 4 cells at once; \d:", told[1])
    assert told[3] == "GPUs  2 cells on each suit: --cells-per-gpu 2"
    kept, dropped = (rehearsal._totals(estimated(store), keep_weights=keep)[2] for keep in (True, False))
    assert ("weights" in kept, "weights" in dropped) == (True, False)


def test_cells_without_a_result_are_to_do_only_where_they_are_wanted_again(capsys):
    words = [*WORDS[:-3], "--dry-run"]  # the unet's three cells
    asked = resolve(Request(study=load_study("fpa_dilation"), demo=True, settings={"width": 2}, only=["unet"]))
    kinds = (failures.FAILED, failures.FAILED, failures.DIVERGED)
    for cell, kind in zip(asked.cells, kinds, strict=True):
        failures.write(failures.Failure(cell=cells.describe(cell), kind=kind, epoch=1, message="struck"))
    what = "fpa_dilation on BRATS-like phantom: 3 cells, 0 done"
    assert cli.guarded(sweep.main, words) == 0
    assert capsys.readouterr().out == f"{what}, 3 failed or diverged (--rerun trains them again): nothing to train\n"
    assert cli.guarded(sweep.main, [*words, "--rerun", "failed"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"{what}, 1 failed or diverged (--rerun trains them again), 2 to do"
    assert [line.split()[:2] for line in rest if line.startswith("unet ")] == [["unet", "2"]]


def test_bad_input_is_told_before_anything_is_measured(capsys):
    assert cli.guarded(sweep.main, [*WORDS, "--gpus", "1.5"]) == cli.BAD_INPUT
    assert capsys.readouterr().err.startswith("error: --gpus is 1.5")


def test_what_there_is_no_time_to_measure_is_predicted_and_said_to_be(monkeypatch, capsys):
    monkeypatch.setattr(rehearsal, "TIMED", 0.0)
    assert cli.guarded(sweep.main, WORDS) == 0
    out = capsys.readouterr().out
    assert re.search(r"^unet +3 +5 +[\d.]+ +[\d.]+ [MG]iB$|^fpa.* 3 +5 +[\d.]+ +[\d.]+ [MG]iB$", out, re.MULTILINE)
    assert len(re.findall(r" ~[\d.e-]+ +–$", out, re.MULTILINE)) == 1
    assert "; ~ 1 of 2 kinds predicted from the 1 measured" in out


def test_a_prediction_has_the_pace_of_what_was_measured(store):
    cells = {cell.network: cell for cell, _ in plan(STUDY, store)}
    image, unet = (4, 64, 64), replace(COST, step_seconds=1.0, score_seconds=0.5)
    fpa, slower = (
        predict(cells["fpa"], image, [(cells["unet"], cost)]) for cost in (unet, replace(unet, step_seconds=3.0))
    )
    assert fpa.predicted and fpa.step_seconds > 1.0  # more work than the unet's
    assert slower.step_seconds == pytest.approx(3 * fpa.step_seconds)
    assert fpa.score_seconds / fpa.step_seconds == pytest.approx(0.5)
    assert predict(cells["unet"], image, [(cells["unet"], unet)]).step_seconds == pytest.approx(1.0)


def test_nothing_is_predicted_from_another_precision_or_for_a_gpu(store):
    cells = {cell.network: cell for cell, _ in plan(STUDY, store)}
    plainly = replace(cells["unet"], recipe={**cells["unet"].recipe, "precision": "float32"})
    on_gpu = replace(COST, gpu=Gpu(peak_mb=1000.0, busy=0.5, total_mb=80_000.0))
    assert predict(cells["fpa"], (4, 64, 64), [(plainly, COST)]) is None
    assert predict(cells["fpa"], (4, 64, 64), [(cells["unet"], on_gpu)]) is None
