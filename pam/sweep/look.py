"""What a cluster's node sees of storage and data. Light, so that a busy node answers soon."""

from __future__ import annotations

import platform
import uuid
from dataclasses import dataclass
from pathlib import Path

from pam.data.store import open as open_store
from pam.errors import DataError

TOKEN = ".preflight-"  # noqa: S105  # begins the names of a preflight's files


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a node sees."""

    token: str  # content of the driver's file; "" where there is none
    unwritable: str  # why PAM_HOME cannot be written there, or ""
    data: str  # why the prepared data cannot be read there, or ""
    python: str


def look(token_path: str, store_path: str, data_hash: str) -> Seen:
    """Runs on a node."""
    path = Path(token_path)
    return Seen(
        token=path.read_text() if path.exists() else "",
        unwritable=_unwritable(path.parent),
        data=_data(store_path, data_hash),
        python=platform.python_version(),
    )


def _unwritable(folder: Path) -> str:
    own = folder / f"{TOKEN}{uuid.uuid4().hex}"
    try:
        own.touch()
        own.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _data(store_path: str, data_hash: str) -> str:
    try:
        found = open_store(store_path).hash
    except DataError as error:
        return str(error)
    if found != data_hash:
        return f"{store_path} holds other data (hash {found}) than here ({data_hash}); prepare it there again"
    return ""
