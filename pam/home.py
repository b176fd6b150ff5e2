"""Where results live: `PAM_HOME`, by default the user's data directory. Always absolute.

It is a folder, or the address of an object store; then the folder is what this machine keeps of it: see `pam.remote`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pam.errors import PamError
from pam.redact import redact

SCHEMES = ("s3://", "gs://", "az://")  # of object stores


def home() -> Path:
    """The folder of prepared data, ledger, checkpoints and MLflow's store."""
    named = os.environ.get("PAM_HOME", "")
    if "://" not in named:
        return Path(named or _of_user("user_data_path", "PAM_HOME")).expanduser().absolute()
    if not named.startswith(SCHEMES):
        raise PamError(f"PAM_HOME is {redact(named)}; expected a folder, or {', '.join(f'{s}…' for s in SCHEMES)}")
    kept = Path(os.environ.get("PAM_CACHE") or _of_user("user_cache_path", "PAM_CACHE")).expanduser().absolute()
    bucket = named.partition("://")[2].partition("/")[0]
    return kept / f"{bucket}-{hashlib.sha256(address().encode()).hexdigest()[:12]}"


def is_remote() -> bool:
    """Whether PAM_HOME is an object store."""
    return "://" in os.environ.get("PAM_HOME", "")


def address() -> str:
    """PAM_HOME, as another process or machine is told it."""
    return os.environ["PAM_HOME"].rstrip("/") if is_remote() else str(home())


def portable(path: Path) -> str:
    """A path below PAM_HOME as another machine finds it: with `located`."""
    return str(path.relative_to(home())) if is_remote() and path.is_relative_to(home()) else str(path)


def located(path: Path | str) -> Path:
    """The path here of what `portable` gave there."""
    return home() / path if is_remote() else Path(path).absolute()


def _of_user(kind: str, variable: str) -> Path:
    try:
        import platformdirs  # noqa: PLC0415
    except ImportError as error:
        raise PamError(
            f"{variable} is not set, and finding the user's directory takes platformdirs: {error}"
        ) from error
    path: Path = getattr(platformdirs, kind)("pam")
    return path


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


def runs_of(study: str, dataset: str) -> Path:
    """The file of one study and data set there."""
    return runs() / study / f"{dataset}.json"
