"""Processes that outlive the command that starts them; Linux alone, as it reads /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

MARK = "PAM_SERVICE"  # environment variable that all processes of a service's part inherit: its folder / the part
GRACE = 20.0  # seconds between SIGTERM and SIGKILL


def start(words: Sequence[str], *, environment: Mapping[str, str], folder: Path, part: str) -> int:
    """Start a process in a session of its own, its output in folder/PART.log; returns its number."""
    with (folder / f"{part}.log").open("wb") as output:
        process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**environment, MARK: str(folder / part)},
            start_new_session=True,
        )
    return process.pid


def identity(pid: int) -> str:
    """When the process started, in the machine's ticks: another one of its number differs. "" if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def marked(folder: Path, part: str = "*") -> set[int]:
    """Processes of the service's part (or of all), and their descendants, without the calling process."""
    found, children = set(), defaultdict(list)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            children[int((entry / "stat").read_text().rpartition(")")[2].split()[1])].append(int(entry.name))
            mark = _mark((entry / "environ").read_bytes())
            if mark.parent == folder and part in ("*", mark.name):
                found.add(int(entry.name))
        except OSError:  # it ended meanwhile, or is another user's
            continue
    # A process may write over the environment that /proc shows, as Ray's workers do with their titles.
    waiting = list(found)
    while waiting:
        new = [pid for pid in children[waiting.pop()] if pid not in found]
        found.update(new)
        waiting += new
    return found - {os.getpid()}


def stop(leaders: Iterable[int], folder: Path, part: str = "*") -> None:
    """Ask the leaders to end, which end their own; what is left after that, or after `GRACE`, is killed."""
    known = {pid: identity(pid) for pid in marked(folder, part)}
    asked = {pid: known[pid] for pid in leaders if pid in known}
    for pid in asked:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while _alive(asked) and time.monotonic() < deadline:
        time.sleep(0.1)
    known |= {pid: identity(pid) for pid in marked(folder, part)}
    for pid in _alive(known):
        _signal(pid, signal.SIGKILL)
    while _alive(known):
        time.sleep(0.05)


def _mark(environment: bytes) -> Path:
    """The value of `MARK` in an environment as /proc shows it."""
    name = os.fsencode(MARK + "=")
    values = [entry.removeprefix(name) for entry in environment.split(b"\0") if entry.startswith(name)]
    return Path(os.fsdecode(values[0])) if values else Path()


def _alive(known: Mapping[int, str]) -> list[int]:
    return [pid for pid, started in known.items() if started and identity(pid) == started]


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
