"""What happened to each cell, for people and programs: one JSON object per line, one file per cell id."""

from __future__ import annotations

import datetime
import json
import logging
import os
import platform
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pam import files, home
from pam.errors import PamError
from pam.redact import redact

LOG = logging.getLogger(__name__)
STARTED, EPOCH, FINISHED, STOPPED, RAISED = "started", "epoch", "finished", "stopped", "raised"
EPOCH_FIELDS = ("epoch", "of", "loss", "learning_rate", "seconds")  # of `pam.train.Epoch`

SEND_SECONDS = 5.0  # between an object store's copies of a log that grows by epochs: it can only be sent whole
_sent: dict[str, float] = {}  # cell → when its log was sent

Epoch = TypeVar("Epoch")


def path_of(cell_id: str) -> Path:
    """Where the cell's log lies, or would lie."""
    return home.logs() / f"{cell_id}.jsonl"


def follow(cell_id: str, epochs: Iterator[Epoch], **about: Any) -> Iterator[Epoch]:
    """The epochs, each logged as it passes; and how they began and ended. `about`: what the first line says besides."""
    write(cell_id, STARTED, host=platform.node(), process=os.getpid(), **about)
    try:
        for epoch in epochs:
            write(cell_id, EPOCH, **{name: getattr(epoch, name) for name in EPOCH_FIELDS})
            yield epoch
    except (GeneratorExit, KeyboardInterrupt):
        write(cell_id, STOPPED)
        raise
    except BaseException as error:
        text = redact("".join(traceback.format_exception(error)))
        write(cell_id, RAISED, error=redact(f"{type(error).__name__}: {error}"), traceback=text)
        raise
    write(cell_id, FINISHED)


def write(cell_id: str, event: str, **fields: Any) -> None:
    """Add a line. A log that cannot be written costs no cell: that is told once, in the process's own log."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": now, "event": event, **fields}, default=str) + "\n"
    path = path_of(cell_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if event == STARTED and files.is_remote(path):  # it goes on with what was written elsewhere
            path.write_bytes(files.here(path).read_bytes() if files.exists(path) else b"")
        with path.open("a", encoding="utf-8") as file:  # a line in one write: two writers do not mix theirs
            file.write(line)
        if event != EPOCH or time.monotonic() - _sent.get(cell_id, -SEND_SECONDS) >= SEND_SECONDS:
            files.send(path)
            _sent[cell_id] = time.monotonic()
    except OSError as error:
        LOG.warning("%s: cannot be written (%s)", path, error)


def read(cell_id: str) -> list[dict[str, Any]]:
    """All lines, oldest first; none for a cell without a log. A line that a full disk cut short is left out."""
    try:
        lines = files.here(path_of(cell_id)).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise PamError(f"{path_of(cell_id)}: cannot be read ({error}); delete it") from error
    return [entry for line in lines if (entry := _parsed(line)) is not None]


def raised(cell_id: str) -> Mapping[str, Any]:
    """The line of the error with which the cell's log ends; {} where it ends otherwise."""
    lines = read(cell_id)
    return lines[-1] if lines and lines[-1]["event"] == RAISED else {}


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return entry
