"""Studies and cells as `pam.status` tells them: first as plain data, then as text."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pam import cell_log, files, overview
from pam.counts import counted
from pam.entries import address
from pam.overview import CellState, StudyState
from pam.service import cluster

LOG_LINES = 12  # the newest ones of a cell's log, as text; JSON has all


def of_study(study: StudyState, *, cells: bool) -> dict[str, Any]:
    """A study's numbers; with `cells`, also a line for each."""
    told: dict[str, Any] = {
        "study": study.study,
        "question": study.question,
        "dataset": study.dataset,
        "title": study.title,
        "phantom": study.phantom,
        "cells": len(study.cells),
        **study.counts,
        "seconds_left": study.seconds_left,
    }
    if cells:
        told["each"] = [_line(cell) for cell in study.cells]
    return told


def of_cell(cell: CellState) -> dict[str, Any]:
    """All that is known of one cell: identity, state, failure with traceback, log, files."""
    failure = cell.failure
    done = cell.state == overview.DONE
    return {
        **_line(cell),
        "network": cell.cell["network"],
        "options": cell.cell["options"],
        "recipe": cell.cell["recipe"],
        "failure": None if failure is None else {name: getattr(failure, name) for name in ("kind", "epoch", "message")},
        "traceback": failure.traceback if failure else _raised(cell),
        "last": dict(failure.metrics if failure else cell.last),
        "provenance": overview.provenance(cell.id) if done else {},
        "entry": address(cell.id) if done else None,
        "mlflow": _run_address(cell.id),
        "log_file": files.address(cell_log.path_of(cell.id)) if cell.log else None,
        "log": cell.log,
    }


def _line(cell: CellState) -> dict[str, Any]:
    last = cell.last
    return {
        "id": cell.id,
        "label": cell.cell["label"],
        "fold": cell.cell["fold"],
        "seed": cell.cell["seed"],
        "state": cell.state,
        "epoch": last.get("epoch", 0),
        "of": last.get("of"),
        "loss": None if "loss" not in last or not math.isfinite(last["loss"]) else last["loss"],
        "holder": cell.holder,
        "message": cell.failure.summary if cell.failure else "",
        "last_sign": cell.log[-1]["time"] if cell.log else None,
    }


def _run_address(cell_id: str) -> str:
    """Where MLflow shows the cell's run: a page, or its id where no server is known; "" before it was noted."""
    run = overview.run(cell_id)
    server = cluster.mlflow()
    return f"{server.rstrip('/')}/#/runs/{run}" if run and server.startswith("http") else f"run {run}" * bool(run)


def _raised(cell: CellState) -> str:
    """The newest error in the log of a cell that is not finished: it may have been tried again since."""
    raised = [line["traceback"] for line in cell.log if line["event"] == cell_log.RAISED]
    return raised[-1] if raised and cell.state != overview.DONE else ""


def text(told: Mapping[str, Any]) -> str:
    """What `pam.status` prints."""
    if "cell" in told:
        return _cell_text(told["cell"])
    lines = [line for study in told["studies"] for line in _study_lines(study)] or ["no study was swept yet"]
    lines += ["", *_cluster_lines(told["cluster"]), *(f"report     {path}" for path in told["reports"])]
    lines += [f"report     none here of {study}: python -m pam.report {study}" for study in _unreported(told)]
    return "\n".join(lines).rstrip()


def _unreported(told: Mapping[str, Any]) -> list[str]:
    """Studies with finished cells, of which the working directory holds no report."""
    reported = {Path(path).parent.name for path in told["reports"]}
    finished = [study["study"] for study in told["studies"] if study[overview.DONE]]
    return [study for study in dict.fromkeys(finished) if study not in reported]


def _study_lines(study: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{study[state]} {state}" for state in overview.STATES if study[state] or state == overview.DONE)
    left = study["seconds_left"]
    eta = "" if left is None else f"; ETA {datetime.timedelta(seconds=round(left))}"
    lines = [f"{study['study']} on {study['title']}: {counted(study['cells'], 'cell')}: {counts}{eta}"]
    each = study.get("each", ())
    width = max((len(cell["label"]) for cell in each), default=0)
    for cell in each:
        epoch = f"epoch {cell['epoch']}/{cell['of']}" if cell["of"] and cell["state"] != overview.DONE else ""
        loss = f"loss {cell['loss']:.4f}" if epoch and cell["loss"] is not None else ""
        words = "  ".join(word for word in (epoch, loss, cell["holder"], cell["message"]) if word)
        where = f"fold {cell['fold']}  seed {cell['seed']}"
        lines.append(f"  {cell['id'][:10]}  {cell['label']:<{width}}  {where}  {cell['state']:<8}  {words}".rstrip())
    return lines


def _cluster_lines(cluster: Mapping[str, Any]) -> list[str]:
    lines = [f"MLflow     {cluster['mlflow']}"] if cluster["mlflow"] else []
    lines += [f"dashboard  {cluster['dashboard']}"] if cluster["dashboard"] else []
    for node in cluster["nodes"]:
        state = ("head" if node["head"] else "worker") if node["alive"] else "DEAD"
        cpus, gpus = (_share(node[f"{what}_held"], node[what]) for what in ("cpus", "gpus"))
        lines.append(f"node       {node['name']}: {state}, {cpus} CPUs, {gpus} GPUs")
    return lines + ([cluster["problem"]] if cluster["problem"] else [])


def _share(held: float | None, of: float) -> str:
    return f"{of:g}" if held is None or not of else f"{held:g} of {of:g}"


def _cell_text(cell: Mapping[str, Any]) -> str:
    lines = [
        f"{cell['label']}, fold {cell['fold']}, seed {cell['seed']}: {cell['state']}",
        f"id         {cell['id']}",
        f"network    {cell['network']} {_pairs(cell['options'])}".rstrip(),
        f"recipe     {_pairs(cell['recipe']) or 'all defaults'}",
    ]
    shown = {"held by": "holder", "ended": "message", "results": "entry", "MLflow": "mlflow", "log": "log_file"}
    lines += [f"{title:<10} {cell[name]}" for title, name in shown.items() if cell[name]]
    if cell["last"]:
        known = {name: value for name, value in cell["last"].items() if name not in ("time", "event")}
        lines.append(f"last epoch {_pairs(known)}")
    lines += [
        f"{name:<10} {cell['provenance'][name]}" for name in ("device", "git_commit") if cell["provenance"].get(name)
    ]
    for line in cell["log"][-LOG_LINES:]:
        rest = {name: value for name, value in line.items() if name not in ("time", "event", "traceback")}
        lines.append(f"  {line['time'][:19]}  {line['event']:<8}  {_pairs(rest)}".rstrip())
    return "\n".join(lines + (["", cell["traceback"].rstrip()] if cell["traceback"] else []))


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={f'{value:.4g}' if isinstance(value, float) else value}" for name, value in values.items()
    )
