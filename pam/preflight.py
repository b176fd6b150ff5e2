"""What would stop a sweep on its way, looked for before its first cell starts, on every node of the cluster."""

from __future__ import annotations

import os
import platform
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pam import disk, home, nodes, schedule
from pam.data.folds import Split
from pam.data.store import Store
from pam.data.store import open as open_store
from pam.errors import DataError, PamError, PamErrors
from pam.files import write_text
from pam.redact import redact, without_user
from pam.study import Cell

NODE_SECONDS = 15.0  # for a node's answer; with MLflow's, less than the half minute that a preflight may take
MLFLOW_SECONDS = 8.0
TOKEN = ".preflight-"  # noqa: S105  # begins a file's name


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a node sees."""

    token: str  # content of the driver's file; "" where there is none
    unwritable: str  # why PAM_HOME cannot be written there, or ""
    data: str  # why the prepared data cannot be read there, or ""
    python: str


def check(
    planned: Sequence[tuple[Cell, Split]], store: Store, resources: schedule.Resources, tracking_uri: str
) -> None:
    """Raise `PamErrors`, with a line for each problem, unless the cluster that was joined can run the cells.

    Takes less than half a minute, whatever does not answer.
    """
    found = [
        *_resources(resources),
        *_nodes(store),
        *_mlflow(tracking_uri),
        *_disk(planned, store, schedule.slots(resources), mirrored=tracking_uri.startswith("sqlite:")),
    ]
    if found:
        raise PamErrors(found)


def _resources(resources: schedule.Resources) -> Iterator[str]:
    try:
        schedule.check_fits(resources)
    except PamError as error:
        yield str(error)


def _nodes(store: Store) -> Iterator[str]:
    """Every node reads what the driver wrote, writes beside it, and reads the prepared data."""
    path, token = home.home() / f"{TOKEN}{uuid.uuid4().hex}", uuid.uuid4().hex
    write_text(path, token)
    try:
        answers = nodes.on_each(look, str(path), str(store.path), store.hash, seconds=NODE_SECONDS)
    finally:
        path.unlink(missing_ok=True)
    for node, answer in answers.items():
        if answer.value is None:
            yield f"node {node.name}: {answer.error}; is it up, with the same Python and pam as here?"
            continue
        seen = answer.value
        if seen.python != platform.python_version():
            yield f"node {node.name}: Python {seen.python}, here {platform.python_version()}; Ray needs the same"
        if seen.token != token:
            yield (
                f"node {node.name}: {home.home()} is not the folder that it is here; "
                "set PAM_HOME to storage that every node shares"
            )
        if seen.unwritable:
            yield f"node {node.name}: {home.home()} cannot be written ({seen.unwritable}); make it writable there"
        if seen.data:
            yield f"node {node.name}: {seen.data}"


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


def _mlflow(uri: str) -> Iterator[str]:
    """A server answers; a database file's folder can be written. Other stores are left to MLflow."""
    if uri.startswith("http"):
        if trouble := _unhealthy(f"{without_user(uri).rstrip('/')}/health"):
            mend = "start the server, or unset MLFLOW_TRACKING_URI to keep runs in PAM_HOME"
            yield f"MLflow at {redact(uri)}: {trouble}; {mend}"
    elif uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            yield f"MLflow's {folder}: {error.strerror}; expected a folder that can be written"
        else:
            if not os.access(folder, os.W_OK):
                yield f"MLflow's {folder}: cannot be written; make it writable"


def _unhealthy(address: str) -> str:
    try:
        urllib.request.urlopen(address, timeout=MLFLOW_SECONDS).close()  # noqa: S310  # the user's own address
    except urllib.error.HTTPError as error:
        return f"it answers {error.code} {error.reason}"
    except (OSError, ValueError) as error:  # refused, no such host, too late, no address
        return f"no answer ({getattr(error, 'reason', error)})"
    return ""


def _disk(planned: Sequence[tuple[Cell, Split]], store: Store, at_once: int, *, mirrored: bool) -> Iterator[str]:
    needed = disk.needed(planned, store, at_once=at_once, keep_weights=True, mirrored=mirrored).needed
    free = disk.free_mb()
    if free < needed:
        yield (
            f"{home.home()}: {disk.text(needed)} needed for checkpoints, weights and ledger, {disk.text(free)} free; "
            "free some, or set PAM_HOME to a larger disk"
        )
