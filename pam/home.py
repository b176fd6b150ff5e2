"""Where results live: `PAM_HOME`, by default the user's data directory. Always absolute."""

from __future__ import annotations

import os
from pathlib import Path

from pam.errors import PamError


def home() -> Path:
    """The folder of prepared data, ledger, checkpoints and MLflow's store."""
    path = os.environ.get("PAM_HOME") or _user_data()
    return Path(path).expanduser().absolute()


def _user_data() -> Path:
    try:
        import platformdirs  # noqa: PLC0415
    except ImportError as error:
        raise PamError(
            f"PAM_HOME is not set, and finding the user's data directory takes platformdirs: {error}"
        ) from error
    return platformdirs.user_data_path("pam")


def prepared() -> Path:
    """Slice stores, one folder per data set."""
    return home() / "prepared"


def ledger() -> Path:
    """Finished cells' results, one folder per cell id."""
    return home() / "ledger"


def checkpoints() -> Path:
    """States of unfinished cells, one file per cell id."""
    return home() / "checkpoints"


def carried() -> Path:
    """Finished cells on their way to another machine's ledger, one file per cell id."""
    return home() / "carried"


def leases() -> Path:
    """Who is at work on what, one folder per cell id."""
    return home() / "leases"


def failures() -> Path:
    """What is known of cells that ended without a result, one file per cell id."""
    return home() / "failures"


def studies() -> Path:
    """What each sweep asked for: one manifest per study and data set."""
    return home() / "studies"


def logs() -> Path:
    """What happened to each cell, one file per cell id."""
    return home() / "logs"


def mlflow() -> Path:
    """MLflow's own database and artifacts, where no other tracking server is used."""
    return home() / "mlflow"


def searches() -> Path:
    """Trials of searches, one folder per study."""
    return home() / "searches"


def views() -> Path:
    """What figures show of each data set, one file per data hash: parts of patients' images."""
    return home() / "views"


def runs() -> Path:
    """Which MLflow run holds which cell, as the mirror has noted: one file per study and data set."""
    return home() / "mlflow" / "runs"
