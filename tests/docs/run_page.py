"""Run a page of the documentation as a reader does: `run_page.py PAGE`, in an empty folder that is the reader's own.

Blocks run in order. python: runs, in one namespace for the page; one whose first line is a comment that names a file
("# my_networks.py") is saved instead, and so is toml. console: lines after "$ " are commands, the others what they must
print, in order; "…" stands for anything. Commands `python -m pam.…` run in this process, which saves their imports,
unless a module of the reader's was edited. Any other block is only read.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from pam.__main__ import main as pam

FENCE = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
IMPORTED: dict[str, float] = {}  # as `own_modules`, when a command imported them
FILE = re.compile(r"# (?P<name>[\w/.-]+\.(?:py|toml))\n")


def run(page: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "page"}
    text = page.read_text(encoding="utf-8")
    for block in FENCE.finditer(text):
        where = f"{page.name}:{text.count(chr(10), 0, block.start()) + 1}"
        named = FILE.match(block["text"])
        if named and block["kind"] in ("python", "toml"):
            Path(named["name"]).parent.mkdir(parents=True, exist_ok=True)
            Path(named["name"]).write_text(block["text"], encoding="utf-8")
        elif block["kind"] == "python":
            exec(compile(block["text"], where, "exec"), namespace)
        elif block["kind"] == "console":
            session(block["text"], where)


def session(text: str, where: str) -> None:
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        command, expected = lines[start][2:], "\n".join(lines[start + 1 : end]).strip()
        code, output = outcome(command)
        refused = expected.startswith("error: ")
        if code != (2 if refused else 0):
            sys.exit(f"{where}: {command}: exit code {code}\n{output}")
        if not re.search(pattern(expected), output, re.DOTALL):
            sys.exit(f"{where}: {command}: the page shows\n{expected}\nand it printed\n{output}")


def pattern(expected: str) -> str:
    """Runs of white space count as one: tables are as wide as their contents."""
    words = re.split(r"(\s+|…)", expected)
    return "".join(".*" if "…" in word else r"\s+" if word.isspace() else re.escape(word) for word in words)


def outcome(command: str) -> tuple[int, str]:
    """Exit code, and all that the command printed."""
    words = shlex.split(command, comments=True)
    if words[:2] == ["python", "-m"] and words[2].startswith("pam.") and not edited():
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            code = pam([words[2].removeprefix("pam."), *words[3:]])
        IMPORTED.update({name: time for name, time in own_modules().items() if name not in IMPORTED})
        return code, shown.getvalue()
    here = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}; {command}'
    run = subprocess.run(["bash", "-c", here], capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr


def own_modules() -> dict[str, float]:
    """Module of the reader's → when its file was written."""
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    return {name: Path(file).stat().st_mtime for name, file in files.items() if file and within(Path(file))}


def edited() -> bool:
    """Whether a file was edited after its import: only a new process sees that."""
    return any(time != IMPORTED.get(name, time) for name, time in own_modules().items())


def within(file: Path) -> bool:
    return file.is_relative_to(Path.cwd()) and file.exists()


if __name__ == "__main__":
    run(Path(sys.argv[1]))
