"""Cells on a Ray cluster: one Tune trial each. The only module that imports ray.

Tune schedules and retries, no more: what is done and where to go on is read from ledger and checkpoints.
"""

from __future__ import annotations

import gc
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

# Read by Ray at import. The old output path is the one that verbose=0 silences.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")

import ray
import torch
from ray import tune

from pam import cells, home, ledger
from pam.data.folds import Split
from pam.data.store import Store
from pam.data.store import open as open_store
from pam.errors import PamError
from pam.study import Cell

RETRIES = 2  # beyond the first try; each goes on from the cell's newest checkpoint
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


class Listener(Protocol):
    """What a sweep wants to hear while cells run; called in the driver's process."""

    def on_epoch(self, cell_id: str, metrics: Mapping[str, float]) -> None: ...

    def on_finished(self, cell_id: str) -> None: ...

    def on_retry(self, cell_id: str) -> None: ...

    def on_failed(self, cell_id: str) -> None: ...


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Join the cluster at `address` (or at RAY_ADDRESS), else start one of its own here, for the time of the block.

    One that starts here listens on the loopback address alone, whatever other heads run on this machine.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it logs every trial's traceback; `run` returns them
    local = address is None and not os.environ.get("RAY_ADDRESS")
    try:
        # A dashboard can be asked for only of a cluster that starts here.
        with _loopback() if local else nullcontext():
            ray.init(
                address="local" if local else address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if local else None,
                _node_ip_address="127.0.0.1" if local else None,
            )
    except ConnectionError as error:
        raise PamError(
            f"no Ray cluster at {address or os.environ['RAY_ADDRESS']}: {error}; start one or leave --address out"
        ) from error
    try:
        yield
    finally:
        gc.collect()  # references to Ray's objects that die after the shutdown end the process
        ray.shutdown()


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
        have = "; ".join(f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in nodes)
        raise PamError(
            f"a cell asks for {resources.cpus} CPUs and {resources.gpus:g} GPUs, but the nodes have {have}; "
            "lower --cpus or --gpus"
        )


def slots(resources: Resources) -> int:
    """How many cells the cluster runs at once."""
    total = ray.cluster_resources()
    by_cpu = total.get("CPU", 0) // resources.cpus
    by_gpu = total.get("GPU", 0) // resources.gpus if resources.gpus else by_cpu
    return max(1, int(min(by_cpu, by_gpu)))


def run(
    planned: Sequence[tuple[Cell, Split]],
    store: Store,
    *,
    resources: Resources,
    provenance: Mapping[str, Any],
    listener: Listener,
) -> dict[str, str]:
    """Train the cells; returns the error text of each that failed. One in neither ledger nor result was interrupted."""
    check_fits(resources)
    trainable = tune.with_parameters(
        _train,
        planned={cell.id: (cell, split) for cell, split in planned},
        store_path=str(store.path),
        pam_home=str(home.home()),
        provenance=dict(provenance),
        cpus=resources.cpus,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
        param_space={"id": tune.grid_search([cell.id for cell, _ in planned])},
        tune_config=tune.TuneConfig(reuse_actors=True),  # 0.5 s a cell instead of 1.6 s for a new process
        run_config=tune.RunConfig(
            storage_path=str(home.home() / "tune"),
            verbose=0,
            callbacks=[_Forward(listener)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )
    results = tuner.fit()
    ended = [results[number] for number in range(len(results))]
    return {r.config["id"]: str(r.error) for r in ended if r.error is not None and r.config is not None}


def _train(
    config: Mapping[str, str],
    *,
    planned: Mapping[str, tuple[Cell, Split]],
    store_path: str,
    pam_home: str,
    provenance: Mapping[str, Any],
    cpus: int,
) -> None:
    """One trial. Nothing of the process it runs in may reach the result: see `cells.prepare_training`."""
    os.environ["PAM_HOME"] = pam_home
    torch.set_num_threads(cpus)
    cell, split = planned[config["id"]]
    if ledger.has(cell.id):  # a retry after the entry was written
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for epoch in cells.run(
        cell, open_store(Path(store_path)), split, device=device, provenance=provenance, record=ledger.add
    ):
        tune.report({name: value for name in REPORTED if not math.isnan(value := getattr(epoch, name))})


class _Forward(tune.Callback):
    """Tune's events, passed on to the sweep's listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        """Tune pickles its callbacks into a snapshot that is never restored; the listener stays out of it."""
        return tune.Callback, ()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "epoch" in result:  # a trial that found its cell finished reports nothing
            metrics = {name: result[name] for name in REPORTED if name in result}
            self._listener.on_epoch(trial.config["id"], metrics)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.on_finished(trial.config["id"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.on_retry(trial.config["id"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.on_failed(trial.config["id"])
