"""What would stop a sweep on its way, looked for before its first cell starts, on every node of the cluster."""

from __future__ import annotations

import os
import platform
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pam import files, home
from pam.data.store import Store
from pam.errors import PamError, PamErrors
from pam.files import write_text
from pam.redact import redact, without_user
from pam.sweep import disk, nodes, schedule
from pam.sweep.look import TOKEN, look

NODE_SECONDS = 20.0  # for a node's answer, of the half minute that a preflight may take
MLFLOW_SECONDS = 8.0


def check(store: Store, resources: schedule.Resources, tracking_uri: str, expected: disk.Disk) -> None:
    """Raise `PamErrors`, with a line for each problem, unless the cluster that was joined can run the cells.

    Takes less than half a minute, whatever does not answer.
    """
    with ThreadPoolExecutor(1) as pool:
        mlflow = pool.submit(lambda: list(_mlflow(tracking_uri)))  # meanwhile: each may take its time to say nothing
        found = [*_resources(resources), *_nodes(store), *mlflow.result(), *_disk(expected.needed)]
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
        answers = nodes.on_each(
            look, home.address(), path.name, home.portable(store.path), store.hash, seconds=NODE_SECONDS
        )
    finally:
        files.remove(path)
    for node, answer in answers.items():
        if answer.value is None:
            yield f"node {node.name}: {answer.error}; is it up, with the same Python and pam as here?"
            continue
        seen = answer.value
        if seen.python != platform.python_version():
            yield f"node {node.name}: Python {seen.python}, here {platform.python_version()}; Ray needs the same"
        if seen.token != token:
            yield (
                f"node {node.name}: {home.address()} is not what it is here; "
                "set PAM_HOME to storage that every node shares"
            )
        if seen.unwritable:
            yield f"node {node.name}: {home.address()} cannot be written ({seen.unwritable}); make it writable there"
        if seen.data:
            yield f"node {node.name}: {seen.data}"


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


def _disk(needed: float) -> Iterator[str]:
    free = disk.free_mb()
    if free < needed:
        yield (
            f"{home.home()}: {disk.text(needed)} needed for checkpoints, weights and ledger, {disk.text(free)} free; "
            "free some, or set PAM_HOME to a larger disk"
        )
