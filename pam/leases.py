"""Who is at work on what: leases in storage, so that no two processes of any two machines train one cell.

The leases of a name are files NAME/1, NAME/2, …, of which the highest is in force. Its owner rewrites it every `BEAT`
seconds. Whoever has watched it stay the same for `LEASE` seconds may create the next number, which the file system
lets one process alone do. Each watcher counts on its own monotonic clock, so wrong or jumping clocks do no harm; a
dead owner on the watcher's own machine is known at once. An owner given up that lives finds the higher number.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pam import files, home

BEAT = 3.0
LEASE = 30.0  # ten beats: a slow file system's pauses must not look like death
POLL = 0.2
PROCESS = uuid.uuid4().hex  # an owner's name where a caller has none of its own


class Busy(RuntimeError):
    """Somebody else holds the lease, or has taken it over."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    number: int
    content: bytes
    since: float  # on the watcher's monotonic clock


class Watch:
    """What one process has seen of leases, and so which of them are in force."""

    def __init__(self, owner: str = PROCESS, *, lease: float = LEASE, clock: Callable[[], float] = time.monotonic):
        self.owner = owner
        self._lease = lease
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def holder(self, name: str) -> str:
        """Who holds the lease, in words; "" where it is free for this watch's owner."""
        seen = self.look(name)
        return "" if seen is None or self._free(seen) else _words(seen.content)

    def look(self, name: str) -> _Seen | None:
        """The lease in force or given up, and since when it looks as it does; None where there is none."""
        number = _highest(name)
        content = _content(name, number) if number else None
        if content is None:
            self._seen.pop(name, None)
            return None
        seen = self._seen.get(name)
        if seen is None or (seen.number, seen.content) != (number, content):
            self._seen[name] = _Seen(number=number, content=content, since=self._clock())
        return self._seen[name]

    def _free(self, seen: _Seen) -> bool:
        return _told(seen.content).get("owner") == self.owner or self._given_up(seen)

    def _given_up(self, seen: _Seen) -> bool:
        told = _told(seen.content)
        dead = told.get("machine") == _machine() and told.get("process") != _process(told.get("pid", 0))
        return dead or self._clock() - seen.since > self._lease

    def take(self, name: str) -> Lease:
        """The lease, for the time of a `with` block. Raises `Busy` if somebody else holds it.

        An owner's own lease is given anew: a scheduler starts a cell again only after it saw its process die.
        """
        seen = self.look(name)
        if seen is not None and not self._free(seen):
            raise Busy(_words(seen.content))
        number = seen.number + 1 if seen else 1
        path = _folder(name) / str(number)
        content = _describe(self.owner)
        try:
            files.create(path, content)
        except FileExistsError:
            raise Busy("another process that was a moment faster") from None
        lease = Lease(name, number, content)
        if seen is not None and _content(name, seen.number) not in (seen.content, None):
            lease.release()  # it moved after all
            raise Busy(_words(seen.content))
        for older in range(1, number):
            files.remove(path.parent / str(older))
        return lease

    def clear(self, prefix: str) -> None:
        """Remove the leases of names that begin so and whose owners are given up: nobody may ask for them again."""
        for name in names():
            seen = self.look(name) if name.startswith(prefix) else None
            if seen is not None and self._given_up(seen):
                with suppress(Busy):  # somebody did
                    self.take(name).release()

    def wait(self, name: str) -> Lease:
        """As `take`, but waits while somebody else holds it."""
        while True:
            try:
                return self.take(name)
            except Busy:
                time.sleep(POLL)


class Lease:
    """A lease held: kept alive by a thread from `with` on, given back at the block's end."""

    def __init__(self, name: str, number: int, content: bytes) -> None:
        self._name = name
        self._number = number
        self._content = content
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self.release()

    def check(self) -> None:
        """Raise `Busy` if somebody else has taken the lease over."""
        if _highest(self._name) != self._number:
            raise Busy("another process, which took it over after this one had been silent for long")

    def release(self) -> None:
        files.remove(_folder(self._name) / str(self._number))
        try:
            _folder(self._name).rmdir()
        except OSError:  # not empty: somebody else's lease is there already
            return

    def _beat(self) -> None:
        """Write a count of fixed width in place: that needs no space on a full disk, and never leaves half a file."""
        count = 0
        while not self._over.wait(BEAT):
            count += 1
            try:
                written = self._content.replace(b"%012d" % 0, b"%012d" % count, 1)
                files.rewrite(_folder(self._name) / str(self._number), written)
            except OSError:
                # Gone, or storage is away: others may take the lease, which `check` finds before anything is written.
                continue


def names() -> set[str]:
    """All names that have a lease, in force or given up."""
    return {path.parent.name for path in files.found(home.leases(), "*/*")}


def _describe(owner: str) -> bytes:
    pid = os.getpid()
    told = {
        "beat": f"{0:012d}",
        "owner": owner,
        "host": platform.node(),
        "pid": pid,
        "machine": _machine(),
        "process": _process(pid),
    }
    return json.dumps(told).encode()


def _words(content: bytes) -> str:
    told = _told(content)
    return f"process {told.get('pid', '?')} on {told.get('host', 'an unknown machine')}"


def _told(content: bytes) -> dict[str, Any]:
    """What a lease says of its owner; nothing while it is half written."""
    try:
        told: dict[str, Any] = json.loads(content)
    except ValueError:
        return {}
    return told


def _folder(name: str) -> Path:
    return home.leases() / name


def _highest(name: str) -> int:
    """The highest number among the name's leases; 0 where there is none."""
    return max((int(path.name) for path in files.found(_folder(name), "*") if path.name.isdigit()), default=0)


def _content(name: str, number: int) -> bytes | None:
    try:
        return files.here(_folder(name) / str(number)).read_bytes()
    except FileNotFoundError:
        return None


def _machine() -> str:
    """Names this boot of this machine, and this container's processes on it; "" where that cannot be told."""
    boot, processes = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    try:
        return f"{boot.read_text().strip()} {processes.readlink()}"
    except OSError:
        return ""


def _process(pid: int) -> str:
    """When the process started, in the machine's ticks: a later one of its number differs. "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
