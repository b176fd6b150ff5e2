"""Where results live: `PAM_HOME`, by default the user's data directory. Always absolute."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The folder of prepared data, ledger, checkpoints and MLflow's store."""
    path = os.environ.get("PAM_HOME") or platformdirs.user_data_path("pam")
    return Path(path).expanduser().absolute()


def prepared() -> Path:
    """Slice stores, one folder per data set."""
    return home() / "prepared"


def ledger() -> Path:
    """Finished cells' results, one folder per cell id."""
    return home() / "ledger"


def checkpoints() -> Path:
    """States of unfinished cells, one file per cell id."""
    return home() / "checkpoints"


def studies() -> Path:
    """What each sweep asked for: one manifest per study and data set."""
    return home() / "studies"


def views() -> Path:
    """What figures show of each data set, one file per data hash: parts of patients' images."""
    return home() / "views"
