"""Files that are there whole or not at all: on this machine, or as objects where PAM_HOME is an object store."""

from __future__ import annotations

import errno
import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pam import home, remote
from pam.errors import PamError

# What a file system says when nothing can be stored any more: full, over quota, read-only, broken, gone.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
STORAGE = (*FULL, errno.EIO, errno.ESTALE)

FETCHED = ".fetched"  # below PAM_HOME, what this machine has read of an object store
PROBE = "writable"  # the object that tells whether a store takes any


def portable_name(name: str) -> str:
    """The name with `.` for each colon, of `module:function` or of options, which not every file system takes."""
    return name.replace(":", ".")


def is_storage(error: BaseException | None) -> bool:
    """Whether the error is the file system's, and not that of what was stored."""
    return isinstance(error, OSError) and error.errno in STORAGE


def is_full(error: BaseException | None) -> bool:
    """Whether the error is that of a file system that takes no more, so that trying again at once is in vain."""
    return isinstance(error, OSError) and error.errno in FULL


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears at `path` when the block ends; an error leaves what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if key := remote.key(path):
            remote.write(key, partial)
        else:
            partial.chmod(0o644)  # mkstemp's 0600 would lock out the other users of a shared PAM_HOME
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def here(path: Path, *, keep: bool = False) -> Path:
    """The file, on this machine; raises `FileNotFoundError`, or names a path without a file, where there is none.

    An object is fetched each time, or once if `keep`: for what never changes under its name.
    """
    key = remote.key(path)
    if key is None:
        return path
    kept = home.home() / FETCHED / key
    if keep and kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".") as folder:
        remote.download(key, Path(folder) / kept.name)
        (Path(folder) / kept.name).replace(kept)
    return kept


def address(path: Path) -> str:
    """Where the file is, to be shown."""
    key = remote.key(path)
    return f"{home.address()}/{key}" if key else str(path)


def fetch(folder: Path, into: Path) -> None:
    """All files of an object store's folder, on this machine."""
    key = remote.key(folder)
    assert key is not None, f"{folder} is no folder of an object store"
    remote.download_folder(key, into)


def exists(path: Path) -> bool:
    key = remote.key(path)
    return path.is_file() if key is None else remote.exists(key)


def found(folder: Path, pattern: str) -> list[Path]:
    """The files below the folder that a pattern such as */*.json names, sorted."""
    key = remote.key(folder)
    if key is None:
        # Not the path's own glob: it raises where a folder goes while it looks, as those of leases do.
        return [folder / name for name in sorted(glob.glob(pattern, root_dir=folder))]  # noqa: PTH207
    names = map(PurePosixPath, remote.names(key))
    return [folder / name for name in names if name.match(pattern) and len(name.parts) == len(Path(pattern).parts)]


def is_remote(path: Path) -> bool:
    """Whether the file is an object of a store."""
    return remote.key(path) is not None


def send(path: Path) -> None:
    """Put a file that was written here, not as `whole` does, into the object store that PAM_HOME may be."""
    if key := remote.key(path):
        remote.write(key, path)


def remove(path: Path) -> None:
    """Remove the file if it is there."""
    if key := remote.key(path):
        remote.remove(key)
    else:
        path.unlink(missing_ok=True)


def create(path: Path, content: bytes) -> None:
    """Make the file. Raises `FileExistsError` where it is there: of several that try at once, one succeeds."""
    if key := remote.key(path):
        remote.create(key, content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)


def rewrite(path: Path, content: bytes) -> None:
    """Change the file in place, by as many bytes as it has. Raises `FileNotFoundError` where it is gone."""
    if key := remote.key(path):
        remote.rewrite(key, content)
        return
    with path.open("r+b") as file:
        file.write(content)


def check_writable(folder: Path, *, otherwise: str = "set PAM_HOME to a folder of yours") -> None:
    """Raise `PamError` unless files can be made in the folder, which is made if need be."""
    if remote.key(folder):
        remote.write(PROBE, b"0")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        raise PamError(f"{folder}: cannot be written ({error.strerror}); free it, or {otherwise}") from error


def write_text(path: Path, text: str) -> None:
    with whole(path) as file:
        file.write(text.encode())
