"""A PAM_HOME that is an object store: its objects, named as the files below `pam.home.home()` would be.

An object is there whole or not at all, and can be made, or changed, on a condition: what ledger and leases rest on.
Whatever can change is asked of the store each time; only what never changes under its name is kept on a machine.
Every trouble with the store is an `Unreachable`. Takes obstore, which a PAM_HOME on a file system does not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pam import home
from pam.errors import PamError, Unreachable
from pam.redact import redact

if TYPE_CHECKING:
    import obstore.store

HERE_ALONE = ("service", "searches")  # folders that belong to one machine: a service's record, a search's database
THREADS = 8  # of downloads
CLIENT = {"connect_timeout": "5s", "timeout": "10m", "allow_http": True}  # of a request, a large object's among them
RETRY = {"max_retries": 20, "retry_timeout": timedelta(seconds=20)}  # a short outage costs no cell
ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3")
PART_BYTES = 16 * 2**20  # read at once of a large object


def key(path: Path) -> str | None:
    """The object that the file is; None for one of this machine alone: PAM_HOME is a folder, or the file is hidden."""
    if not home.is_remote() or not path.is_relative_to(home.home()):
        return None
    parts = path.relative_to(home.home()).parts
    return None if parts[0] in HERE_ALONE or any(part.startswith(".") for part in parts) else "/".join(parts)


def read(key: str) -> bytes:
    """Raises `FileNotFoundError` where there is no such object."""
    import obstore  # noqa: PLC0415

    with _told(key):
        return bytes(obstore.get(_store(), key).bytes())


def etag(key: str) -> str | None:
    """Names the object's content; None where there is no such object."""
    import obstore  # noqa: PLC0415

    try:
        with _told(key):
            return str(obstore.head(_store(), key)["e_tag"])
    except FileNotFoundError:
        return None


def exists(key: str) -> bool:
    return etag(key) is not None


def write(key: str, content: bytes | Path) -> None:
    """Make the object, or put it in another's place."""
    import obstore  # noqa: PLC0415

    with _told(key):
        obstore.put(_store(), key, content)


def create(key: str, content: bytes) -> None:
    """Make the object. Raises `FileExistsError` where it is there: of several that try at once, one succeeds."""
    import obstore  # noqa: PLC0415
    from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415

    with _told(key):
        try:
            obstore.put(_store(), key, content, mode="create")
        except AlreadyExistsError:
            raise FileExistsError(key) from None


def rewrite(key: str, content: bytes) -> None:
    """Change the object. Raises `FileNotFoundError` where it is gone, or somebody else changes it now."""
    import obstore  # noqa: PLC0415
    from obstore.exceptions import PreconditionError  # noqa: PLC0415

    found = etag(key)
    if found is None:
        raise FileNotFoundError(key)
    with _told(key):
        try:
            obstore.put(_store(), key, content, mode={"e_tag": found})
        except PreconditionError:
            raise FileNotFoundError(key) from None


def remove(key: str) -> None:
    """Remove the object if it is there."""
    import obstore  # noqa: PLC0415

    with _told(key):
        try:
            obstore.delete(_store(), key)
        except FileNotFoundError:
            return


def names(folder: str) -> list[str]:
    """Objects below the folder, their names without it, sorted."""
    import obstore  # noqa: PLC0415

    with _told(folder):
        found = [entry["path"] for part in obstore.list(_store(), f"{folder}/") for entry in part]
    return sorted(name.removeprefix(f"{folder}/") for name in found)


def download(key: str, path: Path) -> None:
    """The object as a file, which is not there whole before this returns. Raises as `read` does."""
    import obstore  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    with _told(key):
        got = obstore.get(_store(), key)
        with path.open("wb") as file:
            for part in got.stream(min_chunk_size=PART_BYTES):
                file.write(bytes(part))


def download_folder(folder: str, path: Path) -> None:
    """The objects below the folder as files."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda name: download(f"{folder}/{name}", path / name), names(folder)))


@contextmanager
def _told(key: str) -> Iterator[None]:
    """The store's own errors as one line."""
    from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError  # noqa: PLC0415

    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise FileNotFoundError(f"{home.address()}/{key}") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise Unreachable(f"{home.address()}/{key}: no permission; set credentials, see docs/storage.md") from error
    except BaseError as error:
        if "NoSuchBucket" in str(error):
            raise Unreachable(f"{home.address()}: no such bucket; create it, or mend PAM_HOME") from error
        raise Unreachable(f"{home.address()}/{key}: {_line(error)}; see docs/storage.md") from error


def _line(error: BaseException) -> str:
    text = str(error).partition("Debug source")[0].partition("<?xml")[0]
    return redact(" ".join(text.split())) or type(error).__name__


def _store() -> obstore.store.ObjectStore:
    store: obstore.store.ObjectStore = _open(home.address())
    return store


@cache
def _open(uri: str) -> Any:
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415
        from obstore.store import from_url  # noqa: PLC0415
    except ImportError as error:
        raise PamError(
            f"PAM_HOME is {uri}, which takes obstore: {error}; pip install 'pam-ablation[object-store]'"
        ) from error
    _check_endpoint(uri)
    try:
        make: Any = from_url  # overloaded by kinds of stores
        return make(uri, client_options=CLIENT, retry_config=RETRY)
    except (BaseError, ValueError) as error:
        raise PamError(f"PAM_HOME is {uri}: {_line(error)}; expected such as s3://bucket/pam") from error


def _check_endpoint(uri: str) -> None:
    """Raise `PamError` for an address of another store than Amazon's that is none: obstore would end the process."""
    for name in ENDPOINTS if uri.startswith("s3://") else ():
        named = os.environ.get(name, "http://unset")
        try:
            parts = urlsplit(named)
            good = parts.scheme in {"http", "https"} and bool(parts.hostname)
        except ValueError:
            good = False
        if not good:
            raise PamError(
                f"{name} is {redact(named)!r}; expected such as https://minio.example.org, or not set at all"
            )
