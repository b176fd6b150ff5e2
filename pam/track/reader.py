"""What a tracking server holds of a study, for a machine that has not the ledger."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pam.errors import ResultsError
from pam.redact import redact
from pam.track.runs import CELL, FAILURE, LEDGER, STUDY, every_run


class Reader:
    """What a tracking server holds of a study. Its methods raise `ResultsError` where the server fails."""

    def __init__(self, uri: str) -> None:
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self.uri = uri
        with self._told():
            self._client = MlflowClient(uri)

    def experiments(self, study: str) -> list[str]:
        """Ids of the experiments that hold the study on some data set."""
        with self._told():
            found = self._client.search_experiments(filter_string=f"tags.`pam.study` = '{study}'")
            return [experiment.experiment_id for experiment in found]

    def study_files(self, experiment: str, folder: Path) -> Path | None:
        """Download the files of the study's own run into the folder; None if it has none."""
        with self._told():
            runs = [run for run in every_run(self._client, experiment) if STUDY in run.data.tags]
            if not runs:
                return None
            folder.mkdir(parents=True, exist_ok=True)
            self._client.download_artifacts(runs[0].info.run_id, "", str(folder))
        return folder

    def cells(self, experiment: str, status: str) -> dict[str, str]:
        """Cell → the run that holds it, of the runs in this state: FINISHED or FAILED."""
        with self._told():
            runs = list(every_run(self._client, experiment))
        cells = {run.data.tags[CELL]: run for run in runs if CELL in run.data.tags}
        return {cell: run.info.run_id for cell, run in sorted(cells.items()) if run.info.status == status}

    def download(self, run: str, folder: Path) -> None:
        """A cell's ledger entry, to be the folder."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as beside, self._told():
            Path(self._client.download_artifacts(run, LEDGER, beside)).rename(folder)

    def download_failure(self, run: str, folder: Path) -> None:
        """The record of why a cell has no result, into the folder; nothing for a run that has none."""
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as beside, self._told():
            for artifact in self._client.list_artifacts(run, FAILURE):
                path = Path(self._client.download_artifacts(run, artifact.path, beside))
                path.replace(folder / path.name)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (MlflowException, OSError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ResultsError(
                redact(f"{self.uri}: {first}; is this MLflow's address, and can this machine reach it?")
            ) from error
