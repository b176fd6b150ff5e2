"""What runs where: the addresses that are in use, and the nodes of the Ray cluster, asked of its dashboard."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pam.errors import PamError
from pam.redact import redact
from pam.service import record, web


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of the cluster: what it has, and what of it cells hold; None where the dashboard does not tell."""

    name: str
    alive: bool
    head: bool
    cpus: float
    gpus: float
    cpus_held: float | None = None
    gpus_held: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Addresses, as they may be shown, and nodes; `problem`: why there are no nodes, where a dashboard is known."""

    dashboard: str = ""
    mlflow: str = ""
    nodes: tuple[Node, ...] = ()
    problem: str = ""


def look() -> Cluster:
    """At RAY_API_SERVER_ADDRESS and MLFLOW_TRACKING_URI, else at the service under PAM_HOME."""
    try:
        known = record.read()
    except PamError as error:
        return Cluster(problem=str(error))
    dashboard = os.environ.get("RAY_API_SERVER_ADDRESS") or (known.dashboard if known else "")
    mlflow = _mlflow(known)
    nodes: tuple[Node, ...] = ()
    problem = ""
    if dashboard:
        try:
            nodes = _nodes(dashboard)
        except web.Unreachable as error:
            problem = f"Ray does not answer: {error}"
    return Cluster(dashboard=redact(dashboard), mlflow=redact(mlflow), nodes=nodes, problem=redact(problem))


def mlflow() -> str:
    """MLflow's address, as it may be shown; "" where none is known. Raises `PamError` for a damaged record."""
    return redact(_mlflow(record.read()))


def _mlflow(known: record.Record | None) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or (known.mlflow if known else "")


def _nodes(dashboard: str) -> tuple[Node, ...]:
    url = f"{dashboard.rstrip('/')}/api/v0/nodes?limit=1000"
    answer = web.ask_json(url, token=web.ray_token(), timeout=3.0)
    held = _held(dashboard)
    try:
        listed = answer["data"]["result"]["result"]
        return tuple(
            Node(
                name=node["node_name"],
                alive=node["state"] == "ALIVE",
                head=node["is_head_node"],
                cpus=node["resources_total"].get("CPU", 0.0),
                gpus=node["resources_total"].get("GPU", 0.0),
                **held.get(node["node_id"], {}),
            )
            for node in listed
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise web.Unreachable(f"{url}: not a list of nodes ({error!r})") from error


def _held(dashboard: str) -> dict[str, dict[str, float]]:
    """Node's id → what cells hold of it, by `Node`'s names; {} where the head's scaler does not tell."""
    url = f"{dashboard.rstrip('/')}/api/cluster_status?format=0"
    try:
        told = web.ask_json(url, token=web.ray_token(), timeout=3.0)
        usage = told["data"]["clusterStatus"]["loadMetricsReport"]["usageByNode"]
        return {
            node: {name: of.get(key, (0.0,))[0] for name, key in (("cpus_held", "CPU"), ("gpus_held", "GPU"))}
            for node, of in usage.items()
        }
    except (web.Unreachable, KeyError, TypeError, AttributeError, IndexError):
        return {}
