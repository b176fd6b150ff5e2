"""MLflow filled from the ledger, without a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pam import files, home, ledger, manifest
from pam.errors import ResultsError
from pam.track.mirror import Mirror

PATIENCE = 60.0  # seconds for a server that does not answer: nothing else waits


@dataclass(frozen=True, kw_only=True)
class Told:
    """A study on a data set, and whether MLflow knows all of it. Counts are cells."""

    name: str
    cells: int
    finished: int
    behind: str


def sync(studies: Sequence[str], dataset: str | None) -> list[Told]:
    """Bring the experiments of the studies (of all that were swept, if none is named) to what the ledger holds.

    Raises `PamError` for a study that was never swept.
    """
    found = [path for path in files.found(home.studies(), "*/*.json") if dataset in (None, path.stem)]
    for name in studies:
        if name not in {path.parent.name for path in found}:
            manifest.read(name, dataset)  # its error says what to do
    if not found:
        raise ResultsError(f"{home.studies()}: no study was swept yet; run: python -m pam.sweep STUDY")
    return [_sync(path.parent.name, path.stem) for path in found if not studies or path.parent.name in studies]


def _sync(study: str, dataset: str) -> Told:
    asked = manifest.read(study, dataset)
    ids = [str(cell["id"]) for cell in asked["cells"]]
    mirror = Mirror(asked)
    for cell_id in ids:
        mirror.refresh(cell_id)
    mirror.close(PATIENCE)
    finished = sum(ledger.has(cell_id) for cell_id in ids)
    return Told(name=f"{study} on {dataset}", cells=len(ids), finished=finished, behind=mirror.broken or mirror.behind)
