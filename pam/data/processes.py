"""Processes on one machine: one at a time where it matters, as many as there are cores where it does not."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pam.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")
Count = Callable[[int, int], None]  # done, of how many


@contextmanager
def exclusive(path: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the file's lock; calls `waiting` once if another process has it. The system frees it when a holder dies."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def usable_cores() -> int:
    """Cores that this process may run on: fewer than the machine's in a container or under Slurm."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(function: Callable[[Item], Result], items: Sequence[Item], workers: int, progress: Count) -> list[Result]:
    """The function's result for each item, in order, on several processes; the first item's error that there is.

    Function and items travel to other processes. Raises `DataError` if such a process is killed.
    """
    if min(workers, len(items)) <= 1:
        return _counted(map(function, items), len(items), progress)
    # Spawned, not forked: a fork of a process with threads (torch, Ray) may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(items)), context, initializer=_end_with_parent) as pool:
        try:
            return _counted(pool.map(function, items), len(items), progress)
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process was killed, perhaps for lack of memory; try again with --workers 1"
            ) from error


def each_in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, progress: Count
) -> list[Result]:
    """As `each`, for work that waits for the disk or hashes: threads start at once, processes take a second."""
    with ThreadPoolExecutor(workers) as pool:
        return _counted(pool.map(function, items), len(items), progress)


def _counted(results: Iterator[Result], total: int, progress: Count) -> list[Result]:
    """All results; `progress` hears of each."""
    collected: list[Result] = []
    progress(0, total)
    for result in results:
        collected.append(result)
        progress(len(collected), total)
    return collected


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
