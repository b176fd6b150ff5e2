"""What happens to a running sweep's cells: told to user and MLflow, recorded, and weighed against a budget."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pam import cell_log, cells, failures, ledger
from pam.counts import counted
from pam.files import is_full, is_storage
from pam.redact import redact
from pam.study import Cell
from pam.sweep import schedule
from pam.sweep.disk import Budget
from pam.sweep.gauges import Gauges
from pam.sweep.progress import SweepProgress
from pam.track import Mirror, summarise

COLOUR = r"\x1b\[[0-9;]*m"  # as Ray paints its errors for a terminal


class Events(schedule.Listener):
    """Passes a running sweep's events on, records failed cells, and says when the sweep is to stop."""

    def __init__(
        self,
        planned: Mapping[str, Cell],
        progress: SweepProgress,
        mirror: Mirror,
        *,
        provenance: Mapping[str, object],
        allowed: int,
        budget: Budget,
        gauges: Gauges,
    ) -> None:
        """`planned`: the cells to train, by id. `allowed`: how many of them may fail or diverge."""
        self._planned = planned
        self._progress = progress
        self._mirror = mirror
        self._provenance = provenance
        self._allowed = allowed
        self._budget = budget
        self._gauges = gauges
        self._last: dict[str, Mapping[str, float]] = {}  # each running cell's newest epoch
        self._without_result: list[str] = []
        self._stopped = ""

    @property
    def stopped(self) -> str:
        return self._stopped

    def on_epoch(self, cell_id: str, metrics: Mapping[str, float]) -> None:
        self._last[cell_id] = metrics
        self._progress.epoch(cell_id, metrics)
        self._mirror.epoch(cell_id, metrics)
        self._gauges.epoch()
        self._gauges.show(self._progress.counts)

    def on_ended(self, cell_id: str) -> None:
        self._last.pop(cell_id, None)
        failure = failures.read(cell_id)
        if ledger.has(cell_id):
            scores = summarise(ledger.read(cell_id))
            self._progress.finished(cell_id, f"IoU {scores['iou']:.3f}, Dice per patient {scores['patient_dice']:.3f}")
            self._mirror.refresh(cell_id)
            self._gauges.show(self._progress.counts)
            self._stopped = self._stopped or self._budget.hold(cell_id)
        elif failure is not None:
            self._no_result(cell_id, failure)

    def on_retry(self, cell_id: str, error: BaseException) -> None:
        if is_full(_cause(error)):
            self._stopped = self._stopped or storage_failed(error)
            return
        self._progress.retry(cell_id, one_line(error))

    def on_failed(self, cell_id: str, error: BaseException) -> None:
        last = self._last.pop(cell_id, {})
        if is_storage(_cause(error)):
            self._stopped = self._stopped or storage_failed(error)
            return
        failure = failures.Failure(
            cell=cells.describe(self._planned[cell_id]),
            kind=failures.FAILED,
            epoch=int(last.get("epoch", 0)) + 1,
            message=one_line(error),
            traceback=_traceback(cell_id, error),
            metrics=last,
            provenance=self._provenance,
        )
        failures.write(failure)
        self._no_result(cell_id, failure)

    def on_waiting(self, holders: Mapping[str, str]) -> None:
        self._progress.waiting(holders)

    def on_crowded(self, sharing: int) -> None:
        self._progress.crowded(sharing)

    def interrupted(self) -> None:
        """The sweep stops here: no run of a cell that it was training is left RUNNING."""
        for cell_id in self._last:
            self._mirror.interrupted(cell_id)

    def _no_result(self, cell_id: str, failure: failures.Failure) -> None:
        self._without_result.append(cell_id)
        self._progress.failed(cell_id, failure.summary)
        self._gauges.show(self._progress.counts)
        self._mirror.refresh(cell_id)
        count = len(self._without_result)
        if count > self._allowed:
            self._stopped = (
                f"{counted(count, 'cell')} failed or diverged, more than the {self._allowed} allowed: "
                "mend the cause, or raise --max-failures or the study's max_failures"
            )


def storage_failed(error: BaseException) -> str:
    """Why a sweep stops whose results cannot be stored: no cell is to blame."""
    return f"storage failed ({one_line(error)}); mend it"


def _cause(error: BaseException) -> BaseException:
    """What was raised in a trial's process, without Ray's wrapping."""
    return getattr(error, "cause", None) or error


def _traceback(cell_id: str, error: BaseException) -> str:
    """As the trial's own process logged it, if it could; else as Ray tells it, without its colours."""
    logged = cell_log.raised(cell_id)
    if " ".join(str(logged.get("error", "")).split()) == one_line(error):
        return str(logged["traceback"])
    return redact(re.sub(COLOUR, "", str(error)))


def one_line(error: BaseException) -> str:
    """The error's own last line, without the processes it passed through, and without passwords."""
    cause = getattr(error, "cause", None)
    if cause is not None:
        return redact(" ".join(f"{type(cause).__name__}: {cause}".split()))
    if isinstance(error, OSError):
        return redact(f"{type(error).__name__}: {error}")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return redact(lines[-1]) if lines else type(error).__name__
