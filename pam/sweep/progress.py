"""How far a sweep is: a live line on a terminal, else one plain line per finished cell."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from pam.counts import counted
from pam.study import Cell


class SweepProgress:
    """Cells done of total, ETA and failures, to standard output. A context manager around the sweep's run."""

    def __init__(self, cells: Mapping[str, Cell]) -> None:
        self._cells = cells
        self._epochs: dict[str, int] = {}
        self._waited_for: set[str] = set()
        self._done = self._failed = 0
        self._start = time.monotonic()
        self._console = Console(highlight=False, markup=False)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if self._console.is_terminal:
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task("cells", total=len(cells), note="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def counts(self) -> dict[str, int]:
        """State → cells; one runs from its first epoch on."""
        done, failed, running = self._done, self._failed, len(self._epochs)
        waiting = len(self._cells) - done - failed - running
        return {"done": done, "failed": failed, "running": running, "waiting": waiting}

    def epoch(self, cell_id: str, metrics: Mapping[str, float]) -> None:
        self._epochs[cell_id] = int(metrics["epoch"])
        if self._bar:
            self._bar.update(self._task, note=self._note())

    def finished(self, cell_id: str, result: str) -> None:
        """`result`: the cell's scores in a few words."""
        self._epochs.pop(cell_id, None)
        self._done += 1
        self._line(cell_id, result)

    def failed(self, cell_id: str, reason: str) -> None:
        """`reason`: failed or diverged, and why."""
        self._epochs.pop(cell_id, None)
        self._failed += 1
        self._line(cell_id, reason, problem=True)

    def retry(self, cell_id: str, reason: str) -> None:
        self._line(cell_id, f"stopped ({reason}), goes on from its checkpoint", problem=True)

    def waiting(self, holders: Mapping[str, str]) -> None:
        """Only cells are left that others train: cell id → who. Said once while it stays so."""
        if holders.keys() == self._waited_for:
            return
        self._waited_for = set(holders)
        who = ", ".join(sorted(set(holders.values())))
        self._say(f"waiting for {counted(len(holders), 'cell')} that another sweep is training ({who})")

    def crowded(self, sharing: int) -> None:
        """A GPU's memory was too small for the cells on it: `sharing` cells share one from now on."""
        fewer = f"{counted(sharing, 'cell')} on each GPU from now on"
        self._say(f"out of GPU memory: {fewer}; cells go on from their checkpoints")

    def _say(self, text: str) -> None:
        if self._bar:
            self._bar.print(text)
        else:
            self._console.print(text, soft_wrap=True)

    def _line(self, cell_id: str, words: str, *, problem: bool = False) -> None:
        cell = self._cells[cell_id]
        where = f"{cell.label}, fold {cell.fold}, seed {cell.seed}"
        if self._bar:
            self._bar.update(self._task, completed=self._done + self._failed, note=self._note())
            if problem:
                self._say(f"{where}: {words}")
        else:
            self._say(f"{self._done + self._failed}/{len(self._cells)} {where}: {words}  ({self._note()})")

    def _note(self) -> str:
        running = ", ".join(
            f"{self._cells[cell].network} epoch {epoch}" for cell, epoch in list(self._epochs.items())[:2]
        )
        parts = [
            f"ETA {self._eta()}",
            f"{self._failed} without a result" if self._failed else "",
            running if self._bar else "",
        ]
        return ", ".join(part for part in parts if part)

    def _eta(self) -> str:
        ended = self._done + self._failed
        if not ended:
            return "unknown"
        seconds = (time.monotonic() - self._start) / ended * (len(self._cells) - ended)
        return str(datetime.timedelta(seconds=round(seconds)))
