"""What a cluster's node sees of storage and data. Light, so that a busy node answers soon."""

from __future__ import annotations

import os
import platform
import uuid
from dataclasses import dataclass
from pathlib import Path

from pam import files, home
from pam.data.store import open as open_store
from pam.errors import DataError, PamError

TOKEN = "preflight-"  # noqa: S105  # begins the names of a preflight's files


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a node sees."""

    token: str  # content of the driver's file; "" where there is none
    unwritable: str  # why PAM_HOME cannot be written there, or ""
    data: str  # why the prepared data cannot be read there, or ""
    python: str


def look(pam_home: str, token: str, store_path: str, data_hash: str) -> Seen:
    """Runs on a node."""
    os.environ["PAM_HOME"] = pam_home
    path = home.home() / token
    try:
        read = files.here(path).read_text() if files.exists(path) else ""
    except PamError as error:
        return Seen(token="", unwritable=str(error), data="", python=platform.python_version())
    return Seen(
        token=read,
        unwritable=_unwritable(path.parent),
        data=_data(store_path, data_hash),
        python=platform.python_version(),
    )


def _unwritable(folder: Path) -> str:
    own = folder / f"{TOKEN}{uuid.uuid4().hex}"
    try:
        files.write_text(own, "")
        files.remove(own)
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
