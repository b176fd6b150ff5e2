"""What all benchmarks share: pairs timed in turns, rows with their targets, and the table that holds them.

A benchmark is a script that makes `Row`s and ends in `finish`. Alone it prints them; with `--record DIR` it also puts
them in the place of its earlier ones in DIR: `results.json` holds everything, `pairs.csv` every pair, and `README.md`
the table. Needs the standard library, and torch only to name a GPU.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pam import provenance

REPORT = Path(__file__).resolve().parents[2] / "reports" / "benchmarks"
# In the table's order.
BENCHMARKS = (
    "train_step",
    "without_bfloat16",
    "ways",
    "epoch",
    "whole_cell",
    "cost_model",
    "quality",
    "gpu",
    "preparing",
    "feeding",
    "opening",
    "hd95",
    "report_scale",
    "sweep_overhead",
    "load",
)
HEAD = """# Benchmarks

Made by `python tests/benchmarks`; `python tests/benchmarks NAME …` measures some anew and replaces their rows alone.
**Measured** is the median, with the number of pairs or runs and the least and the greatest of them. A ratio is taken
pair by pair: baseline and pam take turns in one process, so that a machine whose speed drifts slows both. Every pair
stands in [pairs.csv](pairs.csv), each training behind `quality` in [quality.jsonl](quality.jsonl), versions and
settings in [results.json](results.json); what a baseline does is to be read in `tests/benchmarks/NAME.py`. Load is the
number of processes that wanted a core when a benchmark ended, its own among them: far above the cores, other work ran
beside it, and what is no ratio is longer than on a quiet machine.
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. A target is a least or a most; without one the row is told for its own sake."""

    what: str
    unit: str = "×"
    values: tuple[float, ...] = ()  # one per pair or run; none: not measured
    least: float | None = None
    most: float | None = None
    against: str = ""  # the baseline
    taken: tuple[
        tuple[float, float], ...
    ] = ()  # seconds of the baseline and of pam, pair by pair, where values are ratios
    each: str = "runs"  # what the values are of; pairs, where there are two
    note: str = ""

    @property
    def target(self) -> str:
        if self.least is not None:
            return f"≥ {short(self.least)} {self.unit}".rstrip()
        return f"≤ {short(self.most)} {self.unit}".rstrip() if self.most is not None else "–"

    @property
    def met(self) -> bool | None:
        """None without a target or a measurement."""
        if not self.values or (self.least is None and self.most is None):
            return None
        value = statistics.median(self.values)
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    @property
    def found(self) -> str:
        if not self.values:
            return "not measured"
        text = f"{short(statistics.median(self.values))} {self.unit}".rstrip()
        if len(self.values) > 1:
            each = "pairs" if self.taken else self.each
            text += f" ({len(self.values)} {each}, {short(min(self.values))}–{short(max(self.values))})"
        if self.taken:
            plain, ours = (statistics.median(column) for column in zip(*self.taken, strict=True))
            text += f"; {duration(plain)} → {duration(ours)}"
        return text


def faster(what: str, taken: Iterable[tuple[float, float]], **told: Any) -> Row:
    """How many times faster than the baseline: seconds of it and of ours, pair by pair."""
    pairs = tuple(taken)
    return Row(what=what, values=tuple(plain / ours for plain, ours in pairs), taken=pairs, **told)


def in_turns(
    plain: Callable[[], object],
    ours: Callable[[], object],
    pairs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[tuple[float, float]]:
    """Seconds of both, again and again; every second time the other one goes first."""
    for turn in range(pairs):
        if turn % 2:
            late = seconds(ours, clock)
            yield seconds(plain, clock), late
        else:
            early = seconds(plain, clock)
            yield early, seconds(ours, clock)


def seconds(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """`time.process_time` as the clock counts the processor's seconds: what else the machine does counts less."""
    start = clock()
    call()
    return clock() - start


def short(value: float | None) -> str:
    """Three figures."""
    assert value is not None
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def duration(value: float) -> str:
    return f"{short(value)} s" if value >= 1 else f"{short(1000 * value)} ms"


def options(document: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """A parser with `--record` and an option for each default, of its type."""
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"default: {default}")
    parser.add_argument("--record", type=Path, metavar="DIR", help="put the rows into DIR's table")
    return parser


def finish(script: str, rows: Iterable[Row], arguments: argparse.Namespace) -> int:
    """Print the rows as they come, record them if asked to; 1 if a target was missed, else 0."""
    name, found = Path(script).stem, []
    for row in rows:
        found.append(row)
        print(told(row), flush=True)
    if arguments.record:
        given = {key: value for key, value in vars(arguments).items() if key != "record" and value is not None}
        settings = {key: value.name if isinstance(value, Path) else str(value) for key, value in given.items()}
        record(arguments.record, name, found, settings)
    return int(any(row.met is False for row in found))


def told(row: Row) -> str:
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    target = f" [target {row.target}: {verdict}]" if verdict else ""
    return f"{row.what}: {row.found}{target}{f'; {row.note}' if row.note else ''}"


def record(folder: Path, name: str, rows: list[Row], settings: dict[str, str]) -> None:
    """Put a benchmark's rows in the place of its earlier ones, and write the table anew."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    results[name] = {"machine": machine(), "settings": settings, "rows": [asdict(row) for row in rows]}
    ordered = {key: results[key] for key in sorted(results, key=_place)}
    path.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(table(ordered), encoding="utf-8")
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [("benchmark", "what", "pair", "baseline_s", "pam_s", "value", "unit"), *pairs(ordered)]
        )


def _place(name: str) -> int:
    return BENCHMARKS.index(name) if name in BENCHMARKS else len(BENCHMARKS)


def rows_of(entry: dict[str, Any]) -> list[Row]:
    """As they were recorded."""
    return [
        Row(**{**row, "values": tuple(row["values"]), "taken": tuple(map(tuple, row["taken"]))})
        for row in entry["rows"]
    ]


def pairs(results: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, entry in results.items():
        for row in rows_of(entry):
            for turn, value in enumerate(row.values):
                plain, ours = row.taken[turn] if row.taken else ("", "")
                yield name, row.what, turn + 1, plain, ours, value, row.unit


def table(results: dict[str, Any]) -> str:
    """As Markdown, with the machines below it."""
    machines = list(dict.fromkeys(json.dumps(entry["machine"]["hardware"]) for entry in results.values()))
    lines = ["| what | target | measured | | against | machine | benchmark |", "|---|---|---|---|---|---|---|"]
    for name, entry in results.items():
        letter = chr(ord("A") + machines.index(json.dumps(entry["machine"]["hardware"])))
        for row in rows_of(entry):
            verdict = {True: "met", False: "**missed**", None: ""}[row.met]
            found = f"{row.found}. {row.note}" if row.note else row.found
            where = letter if row.values else "–"
            lines.append(
                f"| {row.what} | {row.target} | {found} | {verdict} | {row.against or '–'} | {where} | {name} |"
            )
    lines += ["", "## Machines and versions", ""]
    lines += [f"- **{chr(ord('A') + i)}**: {_words(json.loads(text))}" for i, text in enumerate(machines)]
    lines.append("")
    for name, entry in results.items():
        software = ", ".join(f"{key} {value}" for key, value in entry["machine"]["software"].items() if value)
        settings = ", ".join(f"{key} {value}" for key, value in entry["settings"].items())
        load = entry["machine"]["load"]
        lines.append(f"- {name}: {entry['machine']['date']}, load {load}; {software}; {settings or 'no settings'}")
    return "\n".join([HEAD, *lines]) + "\n"


def _words(hardware: dict[str, Any]) -> str:
    gpus = ", ".join(hardware["gpus"]) or "no GPU"
    return f"{hardware['cores']} cores of {hardware['cpu']}, {hardware['memory_gb']} GB, {gpus}; {hardware['system']}"


def machine() -> dict[str, Any]:
    """Hardware, versions, date and load; never the machine's name."""
    told = provenance.collect()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "load": round(os.getloadavg()[0], 1),
        "hardware": {
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
            "gpus": _gpus(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "software": {
            "pam": told["pam"],
            "commit": told["git_commit"][:12],
            "Python": told["python"],
            **{name: version for name, version in told["packages"].items() if name in ("torch", "numpy", "scipy")},
        },
    }


def _cpu() -> str:
    """The model, told apart by its family and number where its name is as plain as virtual machines' are."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine()
    told = dict(line.partition(":")[::2] for line in path.read_text().split("\n\n")[0].splitlines())
    known = {key.strip(): value.strip() for key, value in told.items()}
    name = known.get("model name", platform.machine())
    extra = [word for word in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if word in known.get("flags", "").split()]
    return f"{name} (family {known.get('cpu family')}, model {known.get('model')}, {', '.join(extra[:2])})"


def _gpus() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
