"""A Ray cluster's nodes and GPUs, and work done on them. Imports ray, as `pam.sweep.schedule` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pam import home
from pam.counts import counted
from pam.errors import PamError
from pam.redact import redact

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Node:
    """What a node has in all, as Ray counts it."""

    id: str
    name: str  # host and address
    cpus: int
    gpus: int

    def __str__(self) -> str:
        return counted(self.cpus, "CPU") + (f" and {counted(self.gpus, 'GPU')}" if self.gpus else "")


@dataclass(frozen=True, kw_only=True)
class Answer(Generic[T]):
    """What a function gave on a node, or why it gave nothing."""

    value: T | None = None
    error: str = ""


def nodes() -> list[Node]:
    """Every node that is alive, of the cluster that was joined."""
    return [
        Node(
            id=node["NodeID"],
            name=f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=int(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def on_each(function: Callable[..., T], *arguments: Any, seconds: float) -> dict[Node, Answer[T]]:
    """The function's answer from each node, all asked at once; asks for no CPU, so that busy nodes answer too."""
    pending = {_task(function, node, cpus=0, gpus=0).remote(*arguments): node for node in nodes()}
    ready, late = ray.wait(list(pending), num_returns=len(pending), timeout=seconds)
    answers: dict[Node, Answer[T]] = {}
    for task in ready:
        try:
            answers[pending[task]] = Answer(value=ray.get(task))
        except RayError as error:
            answers[pending[task]] = Answer(error=_last_line(error))
    for task in late:
        ray.cancel(task, force=True)
        answers[pending[task]] = Answer(error=f"no answer within {seconds:g} s")
    return answers


def once(function: Callable[..., T], *arguments: Any, cpus: int, gpus: float, seconds: float) -> T:
    """The function's answer from some node that has these resources free.

    Raises `PamError` if none comes in time, and `WorkLost` where the function raised or its process died.
    """
    task = _task(_seeing, None, cpus=cpus, gpus=gpus).remote(function, *arguments)
    try:
        answer: T = ray.get(task, timeout=seconds)
    except GetTimeoutError as error:
        ray.cancel(task, force=True)
        raise PamError(
            f"a task that asks for {cpus} CPUs and {gpus:g} GPUs gave no answer in {seconds:g} s; is the cluster busy?"
        ) from error
    except RayError as error:
        raise WorkLost(error) from error
    return answer


class Remote(Generic[T]):
    """An iterator in a process of its own on some node, which works only while its next item is asked for."""

    def __init__(self, make: Callable[..., Iterator[T]], *arguments: Any, cpus: int, gpus: float) -> None:
        actor: Any = ray.remote(num_cpus=cpus, num_gpus=gpus)(_Pull)
        self._actor: Any = actor.remote(make, home.address(), *arguments)
        self.next()

    def next(self) -> None:
        """Ask for the next item; `ready` tells when it is there."""
        self._asked = self._actor.pull.remote()

    def item(self) -> T | None:
        """The item that was asked for; None at the end. Raises `WorkLost` where the work raised or its process died."""
        try:
            item: T | None = ray.get(self._asked)
        except (RayActorError, RayTaskError) as error:
            raise WorkLost(error) from error
        return item

    def end(self) -> None:
        ray.kill(self._actor)

    @staticmethod
    def ready(remotes: Sequence[Remote[T]]) -> Remote[T]:
        """Wait for the first whose item is there."""
        asked = {remote._asked: remote for remote in remotes}
        (first,), _ = ray.wait(list(asked), num_returns=1)
        return asked[first]


def see_own_gpus() -> None:
    """Let this worker see the GPUs that Ray gave it, and no others; to be called before torch looks for any.

    Ray sets the variable itself, unless RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES tells it not to.
    """
    if ids := ray.get_gpu_ids():
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, ids))


def shares_a_gpu() -> bool:
    """Whether other work may be on this worker's GPU."""
    return bool(0 < ray.get_runtime_context().get_assigned_resources().get("GPU", 0) < 1)


class WorkLost(RuntimeError):
    """Some work raised, or the process that did it died; `raised` is what it raised, if it did."""

    def __init__(self, error: RayError) -> None:
        self.raised: BaseException | None = getattr(error, "cause", None)
        told = f"{type(self.raised).__name__}: {self.raised}" if self.raised else _last_line(error)
        super().__init__(redact(" ".join(told.split())))


class _Pull:
    """The actor of a `Remote`."""

    def __init__(self, make: Callable[..., Iterator[Any]], pam_home: str, *arguments: Any) -> None:
        os.environ["PAM_HOME"] = pam_home
        see_own_gpus()
        self._items = make(*arguments)

    def pull(self) -> Any:
        return next(self._items, None)


def _seeing(function: Callable[..., T], *arguments: Any) -> T:
    see_own_gpus()
    return function(*arguments)


def _task(function: Callable[..., Any], node: Node | None, *, cpus: int, gpus: float) -> Any:
    options: Mapping[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}
    if node is not None:
        options = {**options, "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False)}
    return ray.remote(**options)(function)


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
