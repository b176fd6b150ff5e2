"""A Ray cluster's nodes, and functions run on them within a time limit. Imports ray, as `pam.schedule` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pam.errors import PamError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Node:
    """What a node has in all, as Ray counts it."""

    id: str
    name: str  # host and address
    cpus: int
    gpus: int

    def __str__(self) -> str:
        return f"{self.cpus} CPUs" + (f" and {self.gpus} GPUs" if self.gpus else "")


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
    """The function's answer from some node that has these resources free. Raises `PamError` if none comes in time."""
    task = _task(function, None, cpus=cpus, gpus=gpus).remote(*arguments)
    try:
        answer: T = ray.get(task, timeout=seconds)
    except GetTimeoutError as error:
        ray.cancel(task, force=True)
        raise PamError(
            f"a task that asks for {cpus} CPUs and {gpus:g} GPUs gave no answer in {seconds:g} s; is the cluster busy?"
        ) from error
    return answer


def _task(function: Callable[..., Any], node: Node | None, *, cpus: int, gpus: float) -> Any:
    options: Mapping[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}
    if node is not None:
        options = {**options, "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False)}
    return ray.remote(**options)(function)


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
