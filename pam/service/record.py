"""What is known of the service that is up under a PAM_HOME: one file, readable by its owner alone."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pam import files, home
from pam.errors import PamError
from pam.service.processes import identity

PARTS = ("ray", "mlflow")


@dataclass(frozen=True, kw_only=True)
class Record:
    """Where a service listens, and its processes.

    processes  part → (process number, `processes.identity`) of its leader; lacks MLflow where another server is used
    """

    ray: str  # host:port, for `ray.init` and `--address`
    dashboard: str  # URL, of the job server too
    mlflow: str  # URL
    token: bool = False  # whether Ray asks for a token
    host: str = field(default_factory=platform.node)
    processes: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def exports(self) -> dict[str, str]:
        """What a shell needs so that `ray` and `pam` use this service from any directory."""
        named = {
            "PAM_HOME": home.address(),
            "RAY_API_SERVER_ADDRESS": self.dashboard,
            "MLFLOW_TRACKING_URI": self.mlflow,
        }
        return named | ({"RAY_AUTH_MODE": "token"} if self.token else {})

    def alive(self, part: str) -> bool:
        """Whether the part's leading process is the one that was started."""
        pid, started = self.processes.get(part, (0, ""))
        return bool(started) and identity(pid) == started


def folder() -> Path:
    """Record and logs of the service."""
    return home.home() / "service"


def path() -> Path:
    return folder() / "service.json"


def read() -> Record | None:
    """The service's record; None where none was started. Raises `PamError` for a damaged file or another machine's."""
    try:
        told = json.loads(path().read_text(encoding="utf-8"))
        record = Record(**{**told, "processes": {part: tuple(leader) for part, leader in told["processes"].items()}})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PamError(f"{path()}: not a service's record ({error}); delete it, then start the service") from error
    return record


def read_here() -> Record | None:
    """As `read`. Raises `PamError` if the service runs on another machine: its processes are out of reach here."""
    record = read()
    if record is not None and record.host != platform.node():
        raise PamError(
            f"{path()}: this PAM_HOME's service runs on {record.host}; give the command there, or delete the file if "
            "that machine is gone"
        )
    return record


def write(record: Record) -> None:
    folder().mkdir(parents=True, exist_ok=True)
    files.write_text(path(), json.dumps(asdict(record), indent=1) + "\n")
