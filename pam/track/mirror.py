"""Keeps MLflow like the ledger while a sweep runs: one thread, synchronous batches, patience with a lost server.

Training never waits for it. What MLflow could not be told stays asked for and is tried again, at growing intervals.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pam.errors import PamError
from pam.redact import redact
from pam.track.where import tracking_uri

if TYPE_CHECKING:
    from pam.track.runs import Runs

LOG = logging.getLogger(__name__)
PAUSE = 1.0  # seconds between two batches: epochs that come faster are told together
FIRST_RETRY, LAST_RETRY = 1.0, 60.0  # seconds until MLflow is tried again, doubled each time
PATIENCE = 10.0  # seconds that `close` goes on with a server that does not answer


@dataclass
class _Wish:
    """What MLflow is to be told of a cell."""

    epochs: list[Mapping[str, Any]] = field(default_factory=list)
    refresh: bool = False  # read from the ledger and the failures what became of it
    interrupted: bool = False

    def before(self, later: _Wish) -> _Wish:
        return _Wish(
            epochs=self.epochs + later.epochs,
            refresh=self.refresh or later.refresh,
            interrupted=self.interrupted or later.interrupted,
        )


class Mirror:
    """Writes a study's cells to MLflow; every method returns at once, but `close`, which waits for the rest.

    manifest  what the study asked for, as `pam.manifest` writes it
    behind    why MLflow lacks something, or ""
    broken    what ended the mirror though nobody foresaw it, or "": MLflow was told nothing from then on
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self.behind = self.broken = ""
        self._manifest = manifest
        self._damaged = ""
        self._wishes: dict[str, _Wish] = {}
        self._changed = threading.Condition()
        self._closing_at: float | None = None  # until when the thread goes on trying
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mlflow-mirror")
        self._thread = self._pool.submit(self._run)

    def epoch(self, cell_id: str, metrics: Mapping[str, Any]) -> None:
        self._wish(cell_id, _Wish(epochs=[metrics]))

    def refresh(self, cell_id: str) -> None:
        """MLflow is to show of the cell what ledger and failures hold: finished, failed, diverged, or none of these."""
        self._wish(cell_id, _Wish(refresh=True))

    def interrupted(self, cell_id: str) -> None:
        """A cell that is to go on later: its run is not left RUNNING."""
        self._wish(cell_id, _Wish(interrupted=True))

    def close(self, patience: float = PATIENCE) -> None:
        """Write what is waiting, then the variants' means; give up after `patience` seconds without an answer."""
        with self._changed:
            self._closing_at = time.monotonic() + patience
            self._changed.notify()
        try:
            wait([self._thread])
        finally:
            self._pool.shutdown(wait=False)

    def _wish(self, cell_id: str, wish: _Wish) -> None:
        with self._changed:
            earlier = self._wishes.get(cell_id)
            self._wishes[cell_id] = earlier.before(wish) if earlier else wish
            self._changed.notify()

    def _run(self) -> None:
        """What breaks the mirror leaves the training alone; it is told at once, and by `broken` at the end."""
        try:
            self._work()
        except BaseException as error:
            self.broken = redact(f"{type(error).__name__}: {_line(error)}")
            LOG.exception("the MLflow mirror broke; training goes on, and the ledger keeps every result")
            raise

    def _work(self) -> None:
        # Imported here: a second and a half that a sweep's start does not wait for.
        from pam.track.runs import AWAY, Runs  # noqa: PLC0415

        runs = Runs(self._manifest)
        retry = FIRST_RETRY
        while True:
            closing = self._wait(retry if self.behind else PAUSE)
            try:
                self._tell(runs)
                if closing:
                    runs.aggregate()
                    runs.end_orphans()
                    runs.study()
                    runs.note()
            except AWAY as error:
                if not self.behind:
                    LOG.warning(
                        "MLflow does not answer (%s); training goes on, and it is told later", redact(tracking_uri())
                    )
                self.behind = redact(f"{tracking_uri()}: {_line(error)}")
                retry = min(2 * retry, LAST_RETRY)
            except PamError as error:  # a damaged entry: the means would be wrong without it
                self.behind = _line(error)
                return
            else:
                self.behind, retry = self._damaged, FIRST_RETRY
                if closing:
                    return
            if closing and time.monotonic() > (self._closing_at or 0):
                return

    def _wait(self, seconds: float) -> bool:
        """Let wishes gather; whether the mirror is closing, which cuts the time short."""
        deadline = time.monotonic() + seconds
        with self._changed:
            if self._closing_at is not None:
                time.sleep(min(seconds, FIRST_RETRY) if self.behind else 0)
                return True
            while self._closing_at is None and (not self._wishes or time.monotonic() < deadline):
                self._changed.wait(max(deadline - time.monotonic(), 0) or None)
            return self._closing_at is not None

    def _tell(self, runs: Runs) -> None:
        """Fulfil all wishes; one that MLflow does not take, and those behind it, stay."""
        runs.open()
        while True:
            with self._changed:
                if not self._wishes:
                    return
                cell_id = next(iter(self._wishes))
                wish = self._wishes.pop(cell_id)
            try:
                self._fulfil(runs, cell_id, wish)
            except PamError as error:  # a damaged entry: its cell's run stays as it is
                self._damaged = _line(error)
            except BaseException:
                with self._changed:
                    later = self._wishes.get(cell_id)
                    self._wishes[cell_id] = wish.before(later) if later else wish
                raise

    def _fulfil(self, runs: Runs, cell_id: str, wish: _Wish) -> None:
        if wish.epochs:
            runs.epochs(cell_id, wish.epochs)
        if wish.refresh:
            runs.refresh(cell_id)
        if wish.interrupted and runs.has(cell_id):
            runs.interrupt(cell_id)


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
