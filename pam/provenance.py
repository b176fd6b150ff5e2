"""Where a result comes from: the code's commit and the versions it ran on."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "scipy", "ray", "mlflow", "nibabel")


def collect() -> dict[str, Any]:
    """Commit and versions of this process: `git_commit`, `pam`, `python`, `packages`."""
    return {
        "git_commit": git_commit(),
        "pam": _version("pam-ablation"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def git_commit() -> str:
    """The commit of this code's checkout, "+changes" where the code differs from it; "" outside a checkout."""
    source = Path(__file__).resolve().parent
    commit = _git(source, "rev-parse", "HEAD")
    tracked = _git(source, "ls-files", "--", Path(__file__).name)
    if not commit or not tracked:  # an installed copy inside another project's checkout
        return ""
    return commit + ("+changes" if _git(source, "status", "--porcelain", "--", ".") else "")


def _git(folder: Path, *words: str) -> str:
    try:
        run = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:  # a bare GPU machine has only some of them
        return ""
