"""The service's start and end: idempotent, and whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from pam import home
from pam.data.processes import exclusive
from pam.errors import PamError
from pam.redact import redact
from pam.service import parts, processes, record, web
from pam.service.parts import Options
from pam.service.record import Record

WAIT = 180.0  # seconds for a server's first answer; a busy laptop takes 30
POLL = 0.3
RETRIES = 2  # of a server that was too slow for itself
NAMES = {"ray": "Ray", "mlflow": "MLflow"}
Tell = Callable[[str], None]


def up(options: Options, tell: Tell) -> tuple[Record, list[str]]:
    """Start what does not run, and wait until it answers; the service, and the parts started.

    `tell`: what it waits for. Raises `PamError` for a port that is taken, a server that ends or stays silent; what this
    call started is gone then.
    """
    with _alone():
        known = record.read_here()
        running = [part for part in record.PARTS if known is not None and known.alive(part)]
        if known is not None and running:
            _check_same(known, options)
        wanted = ("ray",) if options.mlflow_uri else record.PARTS
        missing = [part for part in wanted if part not in running]
        if known is not None and not missing:
            return known, []
        for part in missing:
            processes.stop([], record.folder(), part)  # what a leader that was killed may have left
        service = Record(
            ray=options.ray,
            dashboard=options.dashboard,
            mlflow=options.mlflow,
            token=options.token,
            processes=known.processes if known is not None and running else {},
        )
        return _start(service, missing, options, tell), missing


def down() -> int | None:
    """Stop the service's jobs, which save where they are, then the service; how many jobs ran. None if it is not up."""
    with _alone():
        known = record.read_here()
        leaders = [known.processes[part][0] for part in record.PARTS if known and known.alive(part)] if known else []
        left = processes.marked(record.folder())
        if known is None and not left:
            return None
        stopped = _stop_jobs(known) if known is not None and known.alive("ray") else 0
        processes.stop(leaders, record.folder())
        if known is not None:
            parts.withdraw(_options(known))
        record.path().unlink(missing_ok=True)
        return stopped if leaders or left else None


def answers(known: Record) -> dict[str, bool]:
    """Part → whether it answers now."""
    options = _options(known)
    return {"ray": parts.ray_answers(options), "mlflow": parts.mlflow_answers(options)}


def _start(service: Record, missing: list[str], options: Options, tell: Tell) -> Record:
    for part in missing:
        port, what, option = {
            "ray": (options.ray_port, "Ray", "--ray-port"),
            "mlflow": (options.mlflow_port, "MLflow", "--mlflow-port"),
        }[part]
        parts.check_port(options.host, port, what, option)
    if "ray" in missing:
        parts.check_port(options.host, options.dashboard_port, "Ray's dashboard", "--dashboard-port")
        parts.withdraw(options)
        if options.token:
            parts.make_token()
    folder = record.folder()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # logs may show what jobs print
    home.mlflow().mkdir(parents=True, exist_ok=True)
    leaders = dict(service.processes)
    started: list[int] = []
    try:
        for part in missing:
            leaders[part] = _launch(part, options)
            started.append(leaders[part][0])
        service = replace(service, processes=leaders)
        for part, ready in (("mlflow", parts.mlflow_answers), ("ray", parts.ray_is_up)):
            if part in missing:
                tell(f"waiting for {NAMES[part]} (log: {_log(part)})")
                while not _wait(service, part, ready, options, last=len(started) == len(missing) + RETRIES):
                    tell(f"{NAMES[part]} ran out of the time it gives itself, as this machine is busy; once more")
                    processes.stop([], folder, part)
                    leaders[part] = _launch(part, options)
                    started.append(leaders[part][0])
                    service = replace(service, processes=dict(leaders))
        if "ray" in missing:
            parts.announce(options)
        record.write(service)
    except BaseException:
        processes.stop(started, folder)
        raise
    return service


def _launch(part: str, options: Options) -> tuple[int, str]:
    """Start the part; the leader of its processes, as a record names it."""
    command, environment = {
        "ray": (parts.ray_command, parts.ray_environment(options)),
        "mlflow": (parts.mlflow_command, parts.mlflow_environment()),
    }[part]
    pid = processes.start(command(options), environment=environment, folder=record.folder(), part=part)
    return pid, processes.identity(pid)


def _wait(service: Record, part: str, ready: Callable[[Options], bool], options: Options, *, last: bool) -> bool:
    """Until the part answers; False if it gave up itself for want of time, unless this is the `last` try."""
    deadline = time.monotonic() + WAIT
    while not ready(options):
        if not service.alive(part):
            if not last and parts.TOO_SLOW in _log(part).read_text(errors="replace"):
                return False
            raise PamError(f"{part} ended before it answered; last lines of {_log(part)}: {_last_words(_log(part))}")
        if time.monotonic() > deadline:
            raise PamError(f"{part} did not answer within {WAIT:g} s; see {_log(part)}")
        time.sleep(POLL)
    return True


def _check_same(known: Record, options: Options) -> None:
    """Raise `PamError` if the service that runs is not the one asked for."""
    for name in ("ray", "dashboard", "mlflow", "token"):
        if getattr(known, name) != getattr(options, name):
            raise PamError(
                f"the service is up with {name} {redact(str(getattr(known, name)))}, not "
                f"{redact(str(getattr(options, name)))}; first: python -m pam.service down"
            )


def _stop_jobs(known: Record) -> int:
    """End running jobs as `ray job stop` does, and wait for them; how many there were."""
    token = web.ray_token() if known.token else ""
    stopped = []
    with suppress(web.Unreachable):  # a head that does not answer is ended by its process
        for job in _running(known, token):
            web.ask(f"{known.dashboard}/api/jobs/{job}/stop", method="POST", token=token)
            stopped.append(job)
        deadline = time.monotonic() + parts.STOP_SECONDS + 10
        while _running(known, token) and time.monotonic() < deadline:
            time.sleep(POLL)
    return len(stopped)


def _running(known: Record, token: str) -> list[str]:
    jobs = web.ask_json(f"{known.dashboard}/api/jobs/", token=token)
    unfinished = [job for job in jobs if job["status"] in ("PENDING", "RUNNING")]
    return [job["submission_id"] for job in unfinished if job["type"] == "SUBMISSION"]


def _options(known: Record) -> Options:
    host, _, port = known.ray.rpartition(":")
    return Options(
        host=host,
        ray_port=int(port),
        dashboard_port=int(known.dashboard.rpartition(":")[2]),
        mlflow_uri=known.mlflow,
        token=known.token,
    )


def _log(part: str) -> Path:
    return record.folder() / f"{part}.log"


def _last_words(log: Path, lines: int = 3) -> str:
    told = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return redact(" | ".join(told[-lines:])) or "it printed nothing"


@contextmanager
def _alone() -> Iterator[None]:
    record.folder().mkdir(parents=True, exist_ok=True)
    with exclusive(record.folder() / "lock", waiting=lambda: None):
        yield
