"""`python -m pam.service up|status|down|env`: Ray and MLflow on this machine, for `ray job submit` and `pam.report`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from pam import cli, home
from pam.errors import PamError
from pam.redact import redact
from pam.service import lifecycle, record
from pam.service.parts import LOOPBACK, Options
from pam.service.record import Record


def main(argv: Sequence[str] | None = None) -> int:
    """Start, show or stop the service; `status` returns 1 if a part of it does not answer."""
    arguments = _parse(argv)
    if arguments.action == "up":
        return _up(arguments)
    return {"status": _status, "down": _down, "env": _env}[arguments.action]()


def _up(arguments: argparse.Namespace) -> int:
    """Start what does not run of Ray and MLflow, and wait until both answer.

    Where MLFLOW_TRACKING_URI names another MLflow server, that one is used.
    """
    own = f"http://{arguments.host}:{arguments.mlflow_port}"
    named = os.environ.get("MLFLOW_TRACKING_URI", "")
    options = Options(
        host=arguments.host,
        ray_port=arguments.ray_port,
        dashboard_port=arguments.dashboard_port,
        mlflow_port=arguments.mlflow_port,
        mlflow_uri=named if named.startswith("http") and named.rstrip("/") != own else "",
        cpus=arguments.cpus,
        gpus=arguments.gpus,
        token=arguments.token,
    )
    service, started = lifecycle.up(options, lambda words: print(words, file=sys.stderr))
    print(f"{'up' if started else 'up already'}, with everything under {home.address()}")
    print(_addresses(service))
    print("\nfrom any directory:\n  ray job submit -- python -m pam.sweep STUDY\n  python -m pam.report STUDY")
    print('\nfor a shell with another PAM_HOME, or where --token was given:\n  eval "$(python -m pam.service env)"')
    return 0


def _status() -> int:
    """Print where the service listens, and whether it answers: exit code 1 if not."""
    service = record.read()
    if service is None:
        print(f"down: no service under {home.address()}; start it: python -m pam.service up")
        return 1
    answering = lifecycle.answers(service)
    print(_addresses(service))
    silent = [part for part, answers in answering.items() if not answers]
    print(f"{' and '.join(silent)} do{'es' * (len(silent) == 1)} not answer; see {record.folder()}" if silent else "up")
    return 1 if silent else 0


def _down() -> int:
    """Stop the service; jobs that run are stopped first, and save where they are."""
    jobs = lifecycle.down()
    if jobs is None:
        print(f"down already: no service under {home.address()}")
    else:
        print("down" + (f"; {jobs} running jobs were stopped: the same commands go on with them" if jobs else ""))
    return 0


def _env() -> int:
    """Print what a shell is to export."""
    service = record.read()
    if service is None:
        raise PamError(f"no service under {home.address()}; start it: python -m pam.service up")
    print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in service.exports.items()))
    return 0


def _addresses(service: Record) -> str:
    return "\n".join(
        [
            f"  Ray        {service.ray}",
            f"  dashboard  {service.dashboard}  (takes jobs, too)",
            f"  MLflow     {redact(service.mlflow)}",
        ]
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m pam.service", description="Ray and MLflow on this machine.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="up|status|down|env")
    up = actions.add_parser("up", help="start what does not run, and wait until it answers", description=_up.__doc__)
    for name, help_, description in (
        ("status", "where it listens, and whether it answers", _status.__doc__),
        ("down", "stop it; jobs that run save where they are", _down.__doc__),
        ("env", "what a shell is to export", _env.__doc__),
    ):
        actions.add_parser(name, help=help_, description=description)
    up.add_argument("--host", default=LOOPBACK, help="the address to listen on (default: the loopback's)")
    for name in ("ray", "dashboard", "mlflow"):
        port = getattr(Options, f"{name}_port")
        up.add_argument(f"--{name}-port", type=int, default=port, help=f"(default: {port})")
    up.add_argument("--cpus", type=int, help="CPUs that cells may use (default: all)")
    up.add_argument("--gpus", type=int, help="GPUs that cells may use (default: all)")
    up.add_argument("--token", action="store_true", help="let only holders of your Ray token in")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main)
