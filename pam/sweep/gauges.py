"""A sweep's cells as Prometheus metrics, which Ray exports beside its nodes'. Imports ray, as `schedule` does."""

from __future__ import annotations

from collections.abc import Mapping

from ray.util.metrics import Gauge


class Gauges:
    """Cells of a study's sweep by state (ray_pam_cells), and the epochs that they have passed (ray_pam_epochs)."""

    def __init__(self, study: str, dataset: str) -> None:
        self._tags = {"study": study, "dataset": dataset}
        self._cells = Gauge("pam_cells", "Cells of a running sweep", tag_keys=("study", "dataset", "state"))
        self._epochs = 0
        self._passed = Gauge("pam_epochs", "Epochs that a running sweep has passed", tag_keys=("study", "dataset"))

    def epoch(self) -> None:
        self._epochs += 1
        self._passed.set(self._epochs, self._tags)

    def show(self, cells: Mapping[str, int]) -> None:
        """`cells`: state → how many."""
        for state, count in cells.items():
            self._cells.set(count, {**self._tags, "state": state})
