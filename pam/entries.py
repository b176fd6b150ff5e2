"""Where the ledger keeps its entries and which cells have one; reading them takes `pam.ledger`.

In an object store an entry is one object, a tar of its folder: there whole or not at all, and made by one writer alone.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import uuid
from contextlib import suppress
from pathlib import Path

from pam import files, home, remote

CELL = "cell.json"  # an entry's last file: it exists exactly while this one does
SUFFIX = ".tar"


def folder(cell_id: str) -> Path:
    """Where the cell's entry lies, or would lie."""
    assert cell_id and "/" not in cell_id, f"{cell_id!r} is no cell id"
    return home.ledger() / cell_id


def address(cell_id: str) -> str:
    """Where the entry is, to be shown."""
    key = _key(cell_id)
    return f"{home.address()}/{key}" if key else str(folder(cell_id))


def has(cell_id: str) -> bool:
    """Whether the cell has finished."""
    key = _key(cell_id)
    return remote.exists(key) if key else (folder(cell_id) / CELL).is_file()


def finished() -> set[str]:
    """The ids of all cells that have finished."""
    if key := remote.key(home.ledger()):
        return {name.removesuffix(SUFFIX) for name in remote.names(key)}
    return {path.parent.name for path in files.found(home.ledger(), f"*/{CELL}")}


def here(cell_id: str) -> Path:
    """The entry's folder, on this machine; one without files where the cell has no entry."""
    key = _key(cell_id)
    if not key:
        return folder(cell_id)
    content = remote.etag(key)
    if content is None:
        return folder(cell_id)
    kept = folder(cell_id).with_name("." + content.strip('"')) / cell_id
    if not (kept / CELL).is_file():
        staged = kept.with_name(f".{uuid.uuid4().hex}")
        try:
            with tarfile.open(fileobj=io.BytesIO(remote.read(key))) as packed:
                packed.extractall(staged, filter="data")
            staged.rename(kept)
        except OSError:  # another process may have been first
            if not (kept / CELL).is_file():
                raise
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return kept


def send(staged: Path, cell_id: str) -> bool:
    """Put an entry's files into the object store as one object, unless it has the entry; False on a file system."""
    key = _key(cell_id)
    if not key:
        return False
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(staged.iterdir()):
            tar.add(path, path.name)
    with suppress(FileExistsError):  # another writer was first
        remote.create(key, packed.getvalue())
    return True


def remove(cell_id: str) -> None:
    """Delete the entry if there is one: cell.json first, so that no half of it ever counts as finished."""
    if key := _key(cell_id):
        remote.remove(key)
        return
    (folder(cell_id) / CELL).unlink(missing_ok=True)
    shutil.rmtree(folder(cell_id), ignore_errors=True)


def _key(cell_id: str) -> str | None:
    key = remote.key(folder(cell_id))
    return f"{key}{SUFFIX}" if key else None
