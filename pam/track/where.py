"""Where MLflow keeps the runs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from pam import home
from pam.redact import redact


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, else a SQLite database under PAM_HOME."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home.mlflow() / 'mlflow.db'}"


def ui_hint() -> str:
    """What to do to look at the runs: an address, or a command that works where this environment is not activated."""
    uri = redact(tracking_uri())
    beside = Path(sys.executable).with_name("mlflow")
    program = "mlflow" if shutil.which("mlflow") or not beside.exists() else str(beside)
    return uri if uri.startswith("http") else f"{program} ui --backend-store-uri {uri}"
