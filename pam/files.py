"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pam.errors import PamError

# What a file system says when nothing can be stored any more: full, over quota, read-only, broken, gone.
STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)


def is_storage(error: BaseException | None) -> bool:
    """Whether the error is the file system's, and not that of what was stored."""
    return isinstance(error, OSError) and error.errno in STORAGE


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
        partial.chmod(0o644)  # mkstemp's 0600 would lock out the other users of a shared PAM_HOME
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Raise `PamError` unless files can be made in the folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        raise PamError(
            f"{folder}: cannot be written ({error.strerror}); free it, or set PAM_HOME to a folder of yours"
        ) from error


def write_text(path: Path, text: str) -> None:
    with whole(path) as file:
        file.write(text.encode())
