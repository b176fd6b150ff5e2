"""Cells on a Ray cluster: one Tune trial each. The only module that imports ray.

Tune schedules and retries, no more: what is done and where to go on is read from ledger and checkpoints.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import socket
import tempfile
import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

# Read by Ray at import. The old output path is the one that verbose=0 silences.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # an interrupt ends `run`; nothing of Tune's is needed later
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")  # no snapshot is ever restored

import ray
import torch
from ray import tune
from ray.exceptions import RayActorError
from ray.tune.search import Searcher

from pam import cells, entries, failures, files, home, leases, ledger, memory
from pam.counts import counted
from pam.data.folds import Split
from pam.data.store import Store
from pam.data.store import open as open_store
from pam.errors import PamError
from pam.service import parts
from pam.study import Cell
from pam.sweep import nodes
from pam.train import Diverged

T = TypeVar("T")
GPU_STEPS = 10_000  # Ray counts parts of a GPU in this many steps
RETRIES = 2  # beyond the first try; each goes on from the cell's newest checkpoint
STARTS = 3  # tries: Ray gives a node half a minute, whatever the machine does
LOOK_AGAIN = 1.0  # seconds between two looks at cells that other sweeps have
CONNECT_SECONDS = 10.0  # for the head's port to open; another continent's takes less than one
LOOPBACK = ("127.0.0.1", "localhost", "LOCALHOST")
NO_LIMIT = 10**9  # trials; the queue says itself when it is empty
BUSY, ENDED = "busy", "ended"  # what a trial reports beside its epochs
CROWDED = "crowded"  # out of the memory of a GPU that other cells share
REPORTED = ("epoch", "loss", "learning_rate", "seconds", "validation_dice")  # of each `Epoch`, where defined


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one cell asks of a node."""

    cpus: int = 1
    gpus: float = 0.0  # a fraction up to 1, or a whole number

    def __post_init__(self) -> None:
        if self.cpus < 1:
            raise PamError(f"--cpus is {self.cpus}; expected a whole number from 1")
        if self.gpus < 0 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise PamError(f"--gpus is {self.gpus}; expected a fraction up to 1 or a whole number")

    @classmethod
    def sharing_a_gpu(cls, cells: int, cpus: int) -> Self:
        """So many cells on each GPU."""
        return cls(cpus=cpus, gpus=GPU_STEPS // cells / GPU_STEPS)  # rounded down, as Ray counts: all of them fit

    @property
    def sharing(self) -> int:
        """How many cells share a GPU."""
        return max(1, int(1 / self.gpus)) if self.gpus else 1

    @property
    def roomier(self) -> Self:
        """The same with half as many cells on a GPU."""
        return self.sharing_a_gpu(max(1, self.sharing // 2), self.cpus)


class WorkerDied(RuntimeError):
    """A cell's process, or its node, ended without an exception."""


class Listener(Protocol):
    """What a sweep wants to hear while cells run; called in the driver's process."""

    def on_epoch(self, cell_id: str, metrics: Mapping[str, float]) -> None: ...

    def on_ended(self, cell_id: str) -> None:
        """The ledger holds the cell, or a record says that it diverged; this sweep or another one trained it."""

    def on_retry(self, cell_id: str, error: BaseException) -> None: ...

    def on_failed(self, cell_id: str, error: BaseException) -> None:
        """The last try raised or died; the cause is the error itself, or its `cause` if Ray wrapped it."""

    def on_crowded(self, sharing: int) -> None:
        """Cells ran out of a shared GPU's memory: so many share one from now on."""

    def on_waiting(self, holders: Mapping[str, str]) -> None:
        """Only cells are left that other sweeps are training: cell id → who."""

    @property
    def stopped(self) -> str:
        """Why no further cell is to start and those that run are to stop; "" while all is well."""


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Join the cluster at `address` (or at RAY_ADDRESS), else start one of its own here, for the time of the block.

    One that starts here listens on the loopback address alone, whatever other heads run on this machine. Raises
    `PamError` if there is none at the address, or if Ray does not start here, as on a machine that is far too busy.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it logs every trial's traceback; `run` returns them
    on_sigterm = signal.getsignal(signal.SIGTERM)
    _init(address or os.environ.get("RAY_ADDRESS") or None)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own handler ends the process at once
    try:
        yield
    finally:
        gc.collect()  # references to Ray's objects that die after the shutdown end the process
        ray.shutdown()


def _init(address: str | None) -> None:
    local = address in (None, "local")
    where = "Ray does not start here" if local else f"no Ray cluster at {address}"
    if address is not None:
        _check_listens(address)
    try:
        patiently(lambda: _join(None if local else address))
    except ConnectionError as error:
        raise PamError(f"{where}: {error}; start one or leave --address out") from error
    except Exception as error:
        # Ray raises plain ones where its processes do not come up, or not in time; any other kind is a fault of ours.
        if not (type(error) is Exception or isinstance(error, (RuntimeError, OSError))):
            raise
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise PamError(f"{where}: {reason}; if this machine is busy or short of memory, try again later") from error


def _check_listens(address: str) -> None:
    """Raise `PamError` if nothing listens at a `host:port`: Ray itself would try for many minutes."""
    host, _, port = address.rpartition(":")
    if "/" in address or not port.isdigit():
        return  # `auto`, or a scheme of Ray's own
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise PamError(f"no Ray cluster at {address}: {error}; start one or leave --address out") from error


def _host(address: str) -> str:
    return address.rpartition("/")[2].rpartition(":")[0]


def _join(address: str | None) -> None:
    """Join the cluster there; one that starts here if None, for which alone a dashboard can be asked for or not."""
    local = address is None
    with _loopback() if address is None or _host(address) in LOOPBACK else nullcontext():
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if local else None,
            _node_ip_address="127.0.0.1" if local else None,
        )


def patiently(start: Callable[[], T]) -> T:
    """What starts a node of Ray's gives; it is started anew where it did not come up in time, `STARTS` times in all."""
    for _ in range(STARTS - 1):
        try:
            return start()
        except Exception as error:
            if parts.TOO_SLOW not in str(error):
                raise
            _end_node(error)
    return start()


def _end_node(error: Exception) -> None:
    """End the processes of a node that did not come up in time: Ray would leave them until this process ends."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if isinstance(node := frame.f_locals.get("self"), ray._private.node.Node):
            node.kill_all_processes(check_alive=False, wait=True)


@contextmanager
def _loopback() -> Iterator[None]:
    """While it lasts, Ray takes the loopback address as it is given, and not for the machine's own."""
    name, constants = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", ray._private.ray_constants
    before = os.environ.get(name), constants.ENABLE_RAY_CLUSTER
    os.environ[name], constants.ENABLE_RAY_CLUSTER = "0", False  # for the processes that start now, and for this one
    try:
        yield
    finally:
        os.environ.pop(name)
        if before[0] is not None:
            os.environ[name] = before[0]
        constants.ENABLE_RAY_CLUSTER = before[1]


def default_gpus() -> float:
    """One GPU per cell where the cluster has any, else none."""
    return 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0


def check_fits(resources: Resources) -> None:
    """Raise `PamError` if no single node has what one cell asks for: such a trial would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(n.get("CPU", 0) >= resources.cpus and n.get("GPU", 0) >= resources.gpus for n in nodes):
        have = "; ".join(_words(n.get("CPU", 0), n.get("GPU", 0)) for n in nodes)
        asked = _words(resources.cpus, resources.gpus)
        raise PamError(f"a cell asks for {asked}, but the nodes have {have}; lower --cpus or --gpus")


def _words(cpus: float, gpus: float) -> str:
    return f"{counted(int(cpus), 'CPU')} and {gpus:g} GPU{'s' * (gpus != 1)}"


def slots(resources: Resources) -> int:
    """How many cells the cluster runs at once."""
    total = ray.cluster_resources()
    by_cpu = total.get("CPU", 0) // resources.cpus
    by_gpu = total.get("GPU", 0) / resources.gpus + 1e-6 if resources.gpus else by_cpu
    return max(1, int(min(by_cpu, by_gpu)))


def run(
    planned: Sequence[tuple[Cell, Split]],
    store: Store,
    *,
    resources: Resources,
    provenance: Mapping[str, Any],
    checkpoint_seconds: float,
    keep_weights: bool,
    listener: Listener,
) -> None:
    """Train the cells, and wait for those that other sweeps are training; the listener hears how each ended.

    Returns early once the listener says stop. An interrupt leaves through it as `KeyboardInterrupt`.
    """
    check_fits(resources)
    owner = uuid.uuid4().hex
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(slots(resources), 8))  # a wide cluster starts in one go
    trainable = tune.with_parameters(
        _train,
        planned={cell.id: (cell, split) for cell, split in planned},
        store_path=home.portable(store.path),
        pam_home=home.address(),
        provenance=dict(provenance),
        cpus=resources.cpus,
        owner=owner,
        checkpoint_seconds=checkpoint_seconds,
        keep_weights=keep_weights,
    )
    queue = _Queue([cell.id for cell, _ in planned], listener, owner)
    while queue.waiting and not listener.stopped:
        if queue.settle():
            asked = {"cpu": resources.cpus, "gpu": resources.gpus}
            _tune(tune.with_resources(trainable, asked), queue, listener)
        else:
            time.sleep(LOOK_AGAIN)
        if queue.crowded:
            resources = resources.roomier
            queue.crowded = False
            listener.on_crowded(resources.sharing)


def _tune(trainable: Any, queue: _Queue, listener: Listener) -> None:
    """One run of Tune over the cells of the queue that are free."""
    # What Tune writes is never read: it gets a folder for the time of the run, beside neither ledger nor checkpoints.
    with tempfile.TemporaryDirectory(prefix="pam-tune-", ignore_cleanup_errors=True) as folder:
        tune.Tuner(
            trainable,
            # 0.5 s a cell instead of 1.6 s for a new process
            tune_config=tune.TuneConfig(reuse_actors=True, search_alg=queue, num_samples=NO_LIMIT),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                callbacks=[_Forward(listener, queue)],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                stop=_Stop(listener),
            ),
        ).fit()


def _train(
    config: Mapping[str, str],
    *,
    planned: Mapping[str, tuple[Cell, Split]],
    store_path: str,
    pam_home: str,
    provenance: Mapping[str, Any],
    cpus: int,
    owner: str,
    checkpoint_seconds: float,
    keep_weights: bool,
) -> None:
    """One trial. Nothing of the process it runs in may reach the result: see `cells.prepare_training`."""
    os.environ["PAM_HOME"] = pam_home
    nodes.see_own_gpus()
    torch.set_num_threads(cpus)
    cell, split = planned[config["id"]]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    store = open_store(store_path)
    try:
        for epoch in cells.run(
            cell,
            store,
            split,
            device=device,
            provenance=provenance,
            record=ledger.add,
            owner=owner,
            checkpoint_seconds=checkpoint_seconds,
            keep_weights=keep_weights,
        ):
            tune.report({name: value for name in REPORTED if not math.isnan(value := getattr(epoch, name))})
    except leases.Busy:
        tune.report({BUSY: True})
    except Diverged:  # it is on record, and would diverge again
        tune.report({ENDED: True})
    except RuntimeError as error:
        if not (memory.out_of_gpu_memory(error) and nodes.shares_a_gpu()):
            raise
        tune.report({CROWDED: True})
    else:
        tune.report({ENDED: True})  # Tune prints a line for a trial that reports nothing: its cell was finished already


class _Queue(Searcher):
    """Hands Tune the cells one by one: those that are free at that moment, none that another sweep finished."""

    def __init__(self, ids: Sequence[str], listener: Listener, owner: str) -> None:
        super().__init__()
        self.waiting = deque(ids)
        self.crowded = False
        self._listener = listener
        self._watch = leases.Watch(owner)
        self._running: dict[str, str] = {}  # trial → cell
        self._looked = -LOOK_AGAIN

    def __reduce__(self) -> tuple[type[Searcher], tuple[()]]:
        """Tune pickles its searcher into a snapshot that is never restored; the listener stays out of it."""
        return Searcher, ()

    def settle(self) -> bool:
        """Leave out what others have finished; whether a cell is free. If none is, the listener hears who has them."""
        over, leased = entries.finished() | failures.known(), leases.names()
        for cell_id in [cell_id for cell_id in self.waiting if cell_id in over]:
            self.waiting.remove(cell_id)
            self._listener.on_ended(cell_id)
        holders = {cell_id: self._watch.holder(cell_id) if cell_id in leased else "" for cell_id in self.waiting}
        if holders and all(holders.values()):
            self._listener.on_waiting(holders)
        return not all(holders.values())

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:  # type: ignore[override]  # Tune's own, mistyped
        if self._listener.stopped or self.crowded or not (self.waiting or self._running):
            return str(Searcher.FINISHED)
        if self.waiting and time.monotonic() - self._looked >= LOOK_AGAIN:
            for _ in range(len(self.waiting)):
                cell_id = self.waiting.popleft()
                if ended(cell_id):
                    self._listener.on_ended(cell_id)
                elif self._watch.holder(cell_id):
                    self.waiting.append(cell_id)
                else:
                    self._running[trial_id] = cell_id
                    return {"id": cell_id}
            self._looked = time.monotonic()  # none is free: do not read all leases at each of Tune's steps
        return None if self._running else str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._running.pop(trial_id, None)

    def busy(self, cell_id: str) -> None:
        """Another sweep was a moment faster: try the cell later."""
        self.waiting.append(cell_id)

    def out_of_memory(self, cell_id: str) -> None:
        """The GPUs hold fewer cells: this one waits until those that run have ended and all have more room."""
        self.waiting.appendleft(cell_id)
        self.crowded = True

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what is done is read from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError


def ended(cell_id: str) -> bool:
    """Whether a cell has its result, or a record of why it has none."""
    return ledger.has(cell_id) or files.exists(failures.path_of(cell_id))


class _Stop(tune.Stopper):
    """Ends Tune's run once the listener says so."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def __reduce__(self) -> tuple[type[tune.Stopper], tuple[()]]:
        return tune.stopper.NoopStopper, ()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return bool(self._listener.stopped)


class _Forward(tune.Callback):
    """Tune's events, passed on to the sweep's listener."""

    def __init__(self, listener: Listener, queue: _Queue) -> None:
        self._listener = listener
        self._queue = queue

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        """Tune pickles its callbacks into a snapshot that is never restored; the listener stays out of it."""
        return tune.Callback, ()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        cell_id = trial.config["id"]
        if BUSY in result:
            self._queue.busy(cell_id)
        elif CROWDED in result:
            self._queue.out_of_memory(cell_id)
        elif "epoch" in result:  # a trial that found its cell finished reports nothing
            self._listener.on_epoch(cell_id, {name: result[name] for name in REPORTED if name in result})

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if ended(trial.config["id"]):
            self._listener.on_ended(trial.config["id"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.on_retry(trial.config["id"], _error(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.on_failed(trial.config["id"], _error(trial))


def _error(trial: Any) -> BaseException:
    """What the trial's last try ended with: the exception itself, where it could be pickled, else its text.

    Tune's own `get_error` looks in the storage, where the files come only later.
    """
    pickled = trial.pickled_error_file
    if pickled:
        try:
            error: BaseException = ray.cloudpickle.loads(Path(pickled).read_bytes())
        except (ImportError, AttributeError, TypeError):  # the cell's own exception, of a module that only it imports
            return RuntimeError(Path(trial.error_file).read_text())
        return WorkerDied(str(error).partition("\n")[0]) if isinstance(error, RayActorError) else error
    return RuntimeError(Path(trial.error_file).read_text())
