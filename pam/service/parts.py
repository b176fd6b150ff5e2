"""The two servers: how each is started, and when it answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pam import files, home
from pam.errors import PamError
from pam.redact import without_user
from pam.service import web

LOOPBACK = "127.0.0.1"
RAY = (sys.executable, "-m", "ray.scripts.scripts")
TOO_SLOW = "timed out during startup"  # Ray's words where its node is not there after 30 s, which no setting changes
# Ray reserves a third of the memory by default. Cells read their images from memory-mapped files, and send little.
OBJECT_STORE_BYTES = 512 * 2**20
WORKER_PORTS = range(10002, 20000)  # Ray's default
STOP_SECONDS = 60  # for a stopped sweep to save its epoch and to end its MLflow runs, before it is killed


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the service listens and what it may use.

    mlflow_uri  a tracking server to use instead of an own one; "" for an own one
    """

    host: str = LOOPBACK
    ray_port: int = 6379
    dashboard_port: int = 8265
    mlflow_port: int = 5000
    mlflow_uri: str = ""
    cpus: int | None = None  # None: all
    gpus: int | None = None
    token: bool = False

    def __post_init__(self) -> None:
        for name in ("ray_port", "dashboard_port", "mlflow_port"):
            port = getattr(self, name)
            if not 1024 <= port <= 65535:
                raise PamError(f"--{name.replace('_', '-')} is {port}; expected a number from 1024 to 65535")
            if not self.own_machine and port in WORKER_PORTS:
                raise PamError(f"--{name.replace('_', '-')} is {port}; Ray's workers use 10002 to 19999")
        if self.host in ("0.0.0.0", "::"):  # refused, not used  # noqa: S104  # refused
            raise PamError(f"--host is {self.host}; name the one address that the other machines reach this one by")
        if not self.own_machine and not self.token:
            raise PamError(
                f"--host {self.host} lets other machines run code as you: add --token, and read docs/security.md"
            )

    @property
    def own_machine(self) -> bool:
        return self.host == LOOPBACK

    @property
    def ray(self) -> str:
        return f"{self.host}:{self.ray_port}"

    @property
    def dashboard(self) -> str:
        return f"http://{self.host}:{self.dashboard_port}"

    @property
    def mlflow(self) -> str:
        return self.mlflow_uri or f"http://{self.host}:{self.mlflow_port}"


def check_port(host: str, port: int, what: str, option: str) -> None:
    """Raise `PamError` if something listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PamError(
                f"{host}:{port} cannot be had for {what} ({error.strerror}); stop what listens there, or choose "
                f"another with {option}"
            ) from error


def ray_command(options: Options) -> list[str]:
    words = [*RAY, "start", "--head", "--block", "--disable-usage-stats"]
    words += ["--node-ip-address", options.host, "--port", str(options.ray_port)]
    words += ["--dashboard-host", options.host, "--dashboard-port", str(options.dashboard_port)]
    # By default these are the same numbers for every head of a machine.
    words += ["--ray-client-server-port", str(_free_port(options.host)), "--dashboard-agent-listen-port", "0"]
    if options.own_machine:  # between machines, a firewall wants the default's range
        words += ["--min-worker-port", "0", "--max-worker-port", "0"]
    words += ["--object-store-memory", str(OBJECT_STORE_BYTES)]
    words += [] if options.cpus is None else ["--num-cpus", str(options.cpus)]
    return words + ([] if options.gpus is None else ["--num-gpus", str(options.gpus)])


def ray_environment(options: Options) -> dict[str, str]:
    """The head's environment, which its jobs and their trials inherit."""
    environment = _clean(os.environ)
    environment |= {
        "PAM_HOME": home.address(),
        "MLFLOW_TRACKING_URI": options.mlflow,
        # A job's `python` is this one, whatever environment is activated in the shell that submits it.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",  # a job's lines show when they are printed
        # Always named: left out, a head asks for a token where its user happens to have one, and clients send none.
        "RAY_AUTH_MODE": "token" if options.token else "disabled",
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS),
    }
    if options.own_machine:  # else Ray turns the loopback address into the machine's own, and listens there
        environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    return environment


def ray_is_up(options: Options) -> bool:
    """Whether the job server takes jobs and the head has told where it is, which may be later: it must not be last."""
    return ray_answers(options) and (not options.own_machine or _told() == options.ray)


def ray_answers(options: Options) -> bool:
    """Whether the job server takes jobs; that is some seconds after its page shows."""
    token = web.ray_token() if options.token else ""
    try:
        logs = web.ask_json(f"{options.dashboard}/api/v0/logs?node_ip={options.host}&glob=none", token=token)
    except web.Unreachable:
        return False
    return bool(logs.get("result"))


def announce(options: Options) -> None:
    """Leave the head's address where `ray job submit` looks for it when no variable names one.

    Ray wrote 127.0.0.1 there, which its clients take for the machine's own address, where nothing listens. They leave
    other spellings of the same address alone.
    """
    if options.own_machine:
        files.write_text(_announced(), _spelt(options))


def withdraw(options: Options) -> None:
    """Undo `announce`, and what a head that was killed told of this address; not what another head told since."""
    if _told() in (_spelt(options), options.ray):
        _announced().unlink()


def _told() -> str:
    """What Ray's file tells; "" if there is none."""
    return _announced().read_text() if _announced().is_file() else ""


def _announced() -> Path:
    """Ray's file of the newest head's address, in the folder that Ray would choose."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"  # noqa: S108  # Ray's own choice


def _spelt(options: Options) -> str:
    return f"LOCALHOST:{options.ray_port}"


def mlflow_command(options: Options) -> list[str]:
    words = [sys.executable, "-m", "mlflow", "server", "--host", options.host, "--port", str(options.mlflow_port)]
    words += ["--workers", "1"]  # 430 MB instead of 1.2 GB
    # Plain paths: the runs of sweeps that wrote without a server stay readable through it, and the other way round.
    words += ["--default-artifact-root", (home.mlflow() / "artifacts").as_uri()]
    if not options.own_machine:
        hosts = [f"{options.host}:{options.mlflow_port}", options.host, socket.gethostname(), "localhost"]
        words += ["--allowed-hosts", ",".join(hosts)]
    return words


def mlflow_environment() -> dict[str, str]:
    environment = _clean(os.environ)
    # By environment, as other users can read a command line: a database's address may hold a password.
    environment.setdefault("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{home.mlflow() / 'mlflow.db'}")
    return environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def mlflow_answers(options: Options) -> bool:
    try:
        return web.ask(f"{without_user(options.mlflow)}/health").strip() == "OK"
    except web.Unreachable:
        return False


def make_token() -> None:
    """Make sure that Ray has a token for this user, that no other user can read."""
    if not web.ray_token():
        subprocess.run([*RAY, "get-auth-token", "--generate"], check=True, capture_output=True)
    default = Path.home() / ".ray" / "auth_token"
    if default.exists():
        default.chmod(0o600)  # Ray makes it readable for all


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what would make a server a client of another one."""
    others = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "MLFLOW_TRACKING_URI")
    return {name: value for name, value in environment.items() if name not in others}


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
