"""What MLflow shows of a study, a variant and a cell: scores, settings, notes and overlays. Knows nothing of MLflow."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from pam import ledger, protocols
from pam.counts import counted
from pam.data.view import unpacked
from pam.networks import NETWORKS
from pam.study import RESULTS_VERSION, Cell, Recipe
from pam.views import View

SIDE = 480  # pixels of an overlay, about: a slice's pixel becomes several, so that outlines can be told apart
CURVES = ("loss", "learning_rate", "seconds", "validation_dice")
SCORES = ("iou", "dice", "hd95_px", "fp_rate", "fn_rate", "patient_dice")
MAIN = ("iou", "dice", "hd95_px", "patient_dice")  # of them, what a study's rows are compared by at a glance
TARGET, PREDICTION = (0, 220, 90), (255, 60, 200)  # of outlines; told apart by the colour-blind too
PHANTOM = "**PHANTOM DATA: images made by this project; the numbers say nothing about patients.**"
ROWS = 24  # of a description's table: it holds 5,000 letters
STUDY_RUN_NOTE = "What `pam.report --tracking-uri` needs besides the cells: no row of the table."
MEANINGS = """\
| metric | meaning |
|---|---|
| `iou` `dice` | mean over test slices with both target and prediction; IoU: mean of foreground and background |
| `hd95_px` | 95th percentile of the surface distances, in pixels, over the same slices |
| `fp_rate` `fn_rate` | false positives per negative pixel, false negatives per positive pixel, over the same slices |
| `patient_dice` | Dice of all of a patient's slices together, mean over the test patients |
| `slices_…` `patients_…` | how many slices or patients were scored, missed, falsely found, or empty in both |
| `loss` `learning_rate` `seconds` `validation_dice` | per epoch |
| `system/…` | of the training process, per epoch |
"""


def study_note(manifest: Mapping[str, Any], results: Mapping[str, Mapping[str, float]]) -> str:
    """The experiment's description, in Markdown; `results` are the rows' aggregates by label, where there are any."""
    data = f"{manifest['title']} (`{manifest['dataset']}`, content hash `{manifest['data_hash']}`)"
    settings = ", ".join(f"{key} = {value}" for key, value in manifest["settings"].items())
    return (
        f"**{manifest['question']}**{' ' + PHANTOM if manifest['phantom'] else ''}\n\n"
        f"{_results(results)}"
        f"Data: {data}."
        + (f" Settings: {settings}." if settings else "")
        + f" {counted(manifest['folds'], 'fold')} by patient, {counted(manifest['seeds'], 'seed')}.\n\n"
        "A run at the top is a row of the study's table, a network with its settings: `…_mean` and `…_sd` over its `n` "
        "cells. The runs below it are the cells, one training each: one fold is the test set, the others train. "
        "*Columns* shows scores and settings beside the runs.\n\n"
        f"{MEANINGS}\n"
        "This mirrors the ledger, the numbers' source: `python -m pam.report` makes tables and figures from that.\n"
    )


def _results(results: Mapping[str, Mapping[str, float]]) -> str:
    """The rows side by side, mean ± SD, as many as a description holds."""
    if not results:
        return ""
    lines = [f"| row | n | {' | '.join(MAIN)} |", "|---" * (len(MAIN) + 2) + "|"]
    for label, found in list(results.items())[:ROWS]:
        cells = (label, f"{found['n']:g}", *(_mean_and_sd(found, name) for name in MAIN))
        lines.append(f"| {' | '.join(f'{cell}&emsp;' for cell in cells)} |")  # MLflow sets columns without a gap
    more = len(results) - ROWS
    return "\n".join(lines) + "\n\n" + (f"… and {more} more rows.\n\n" if more > 0 else "")


def _mean_and_sd(metrics: Mapping[str, float], name: str) -> str:
    if f"{name}_mean" not in metrics:
        return "–"
    deviation = f" ± {metrics[f'{name}_sd']:.2g}" if f"{name}_sd" in metrics else ""
    return f"{metrics[f'{name}_mean']:.3g}{deviation}"


def variant_note(finished: int, expected: int, metrics: Mapping[str, float], *, phantom: bool) -> str:
    """A parent run's description: its scores as a table, and over how many of its cells they are."""
    rows = "".join(
        f"| {name} | {metrics[f'{name}_mean']:.4g} | {_sd(metrics, name)} |\n"
        for name in SCORES
        if f"{name}_mean" in metrics
    )
    table = f"| score | mean | SD |\n|---|---|---|\n{rows}"
    warning = f"{PHANTOM}\n\n" if phantom else ""
    return f"{warning}Over {finished} of {counted(expected, 'cell')} (fold × seed), its child runs:\n\n{table}"


def _sd(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[f'{name}_sd']:.2g}" if f"{name}_sd" in metrics else "– (one cell)"


def cell_note(cell: Cell, entry: ledger.Entry, *, phantom: bool) -> str:
    """A finished child run's description."""
    patients, slices = entry.cases.patient.nunique(), len(entry.slices)
    warning = f"{PHANTOM}\n\n" if phantom else ""
    return (
        f"{warning}Trained without fold {cell.fold}, scored once on its {counted(patients, 'patient')} "
        f"({counted(slices, 'slice')}). "
        "Learning curve: *Model metrics*; processor and memory: *System metrics*. Under *Artifacts*: `overlays` of the "
        "test cases with the best, middle and worst Dice, `configuration.json` with every setting, the weights in "
        "`model`, and all scores in `ledger`."
    )


def run_name(cell: Cell) -> str:
    return f"{cell.label} · fold {cell.fold} seed {cell.seed}"


def parameters(cell: Cell) -> dict[str, str]:
    """Network, options and recipe as MLflow's parameters, defaults written out."""
    resolved = _resolved(cell)
    values = {"network": cell.network, **resolved["options"], **resolved["recipe"]}
    return {name: str(value) for name, value in values.items()}


def configuration(cell: Cell) -> dict[str, Any]:
    """All that determines the cell's result, defaults written out."""
    return {
        "cell": cell.id,
        "label": cell.label,
        "network": cell.network,
        **_resolved(cell),
        "fold": cell.fold,
        "seed": cell.seed,
        "code": dict(cell.code),
        "data_hash": cell.data_hash,
        "split_hash": cell.split_hash,
        "results_version": RESULTS_VERSION,
    }


def _resolved(cell: Cell) -> dict[str, Any]:
    return {
        "options": {**NETWORKS.options(cell.network), **cell.options},
        "recipe": asdict(Recipe(**cell.recipe)),
    }


def learning_curve(epoch: Mapping[str, Any]) -> dict[str, float]:
    """An epoch's numbers by MLflow's names."""
    return {name: float(epoch[name]) for name in CURVES if name in epoch}


def usage(epoch: Mapping[str, Any]) -> dict[str, float]:
    """What `pam.usage` measured in an epoch, by the names that MLflow shows in a tab of their own."""
    found = {name: epoch.get(name) for name in ("cpu_percent", "memory_mb", "gpu_memory_mb", "gpu_percent")}
    return {f"system/{name}": float(value) for name, value in found.items() if value is not None}


def summarise(entry: ledger.Entry) -> dict[str, float]:
    """A cell's scores in the `paper` protocol, its mean Dice per patient, and how many slices were left out and why."""
    slices, cases = (table.assign(cell_id=entry.cell["id"]) for table in (entry.slices, entry.cases))
    columns = (*protocols.paper(slices).iloc[0].items(), *protocols.patient_dice(cases).iloc[0].items())
    return {str(name): float(value) for name, value in columns}


def aggregate(summaries: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean and SD (n − 1) of each score over cells, and n, the number of cells; undefined values are left out."""
    values = pd.DataFrame(list(summaries))
    metrics = {"n": float(len(values))}
    for name in values:
        defined = values[name].dropna()
        metrics[f"{name}_mean"] = protocols.mean(defined)
        metrics[f"{name}_sd"] = protocols.deviation(defined)
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted names; those that are unknown or empty are left out."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return {name: value for name, value in found.items() if value not in (None, "", [], ())}


def overlays(entry: ledger.Entry, views: Mapping[str, View]) -> Iterator[tuple[str, Image.Image]]:
    """(file name, image) of the test cases with the best, the middle and the worst Dice, where they can be shown."""
    predictions = ledger.evidence(entry.cell["id"], "predictions")
    if predictions is None:
        return
    cases = entry.cases[entry.cases.case.isin(views)].dropna(subset=["dice"]).sort_values(["dice", "case"])
    places = {"worst": 0, "middle": len(cases) // 2, "best": len(cases) - 1}
    shown: set[str] = set()
    for word, place in places.items():
        if cases.empty or (case := str(cases.case.iloc[place])) in shown:
            continue
        view = views[case]
        rows = predictions[(predictions.case == case) & (predictions.slice == view.slice)]
        if len(rows) == 1:
            shown.add(case)
            row = rows.iloc[0]
            prediction = unpacked(row["mask"], row.height, row.width)
            words = f"{word} Dice of the test cases: {cases.dice.iloc[place]:.3f}"
            name = re.sub(r"[^\w.-]+", "_", f"{word}_{case}.png")
            yield name, overlay(view, prediction, f"{case}, slice {view.slice}\n{words}")


def overlay(view: View, prediction: np.ndarray, words: str) -> Image.Image:
    """A view with the target's outline and the prediction's (h w, bool), and what they are in words below."""
    height, width = view.image.shape
    scale = scale_of(view)
    image = Image.fromarray(np.ascontiguousarray(view.shown(view.image))).convert("RGB")
    pixels = np.array(image.resize((width * scale, height * scale), Image.Resampling.BILINEAR))
    for mask, colour in ((view.target, TARGET), (prediction, PREDICTION)):
        pixels[_outline(np.kron(view.shown(mask), np.ones((scale, scale), bool)))] = colour
    canvas = Image.new("RGB", (width * scale, height * scale + 64), "white")
    canvas.paste(Image.fromarray(pixels))
    draw = ImageDraw.Draw(canvas)
    draw.text((4, height * scale + 4), words, fill="black")
    draw.text((4, height * scale + 44), "target", fill=TARGET)
    draw.text((60, height * scale + 44), "prediction", fill=PREDICTION)
    return canvas


def scale_of(view: View) -> int:
    """How many pixels on a side an overlay has for each of the slice's."""
    return max(1, round(SIDE / int(max(view.image.shape))))


def _outline(mask: np.ndarray) -> np.ndarray:
    """The mask's pixels (h w, bool) that have a neighbour outside it."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inside)
