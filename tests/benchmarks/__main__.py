"""Run benchmarks and write their table: `reports/benchmarks/README.md`, with every pair as CSV and JSON.

    python tests/benchmarks [NAME …] [--out reports/benchmarks]

Without names all of them, in hours: `quality` takes most. Each is a script that runs alone, too (`python
tests/benchmarks/NAME.py --help`), and a process of its own here. A benchmark that is run again replaces its own rows
and no others. Exits 1 if one failed or missed a target.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from measured import BENCHMARKS, REPORT

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--out", type=Path, default=REPORT, metavar="DIR")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parents[1]), os.environ.get("PYTHONPATH")])),
    }
    failed = []
    for name in arguments.names or BENCHMARKS:
        print(f"== {name}", flush=True)
        command = [sys.executable, str(HERE / f"{name}.py"), "--record", str(arguments.out.resolve())]
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(name)
    print(f"table: {arguments.out / 'README.md'}")
    if failed:
        print(f"failed or missed a target: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
