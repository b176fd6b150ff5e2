"""Imports go one way, and heavy libraries stay in one place each."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The data's way, top to bottom: a module imports only what stands above it; a package's modules import each other too.
LAYOUT = (
    "pam.errors",
    "pam.counts",
    "pam.redact",
    "pam.home",
    "pam.remote",
    "pam.files",
    "pam.cli",
    "pam.measures",
    "pam.statements",
    "pam.study",
    "pam.source",
    "pam.registry",
    "pam.datasets",
    "pam.data",
    "pam.networks",
    "pam.losses",
    "pam.metrics",
    "pam.protocols",
    "pam.statistics",
    "pam.train",
    "pam.result",
    "pam.evaluate",
    "pam.entries",
    "pam.carry",
    "pam.ledger",
    "pam.intake",
    "pam.views",
    "pam.data_summary",
    "pam.failures",
    "pam.leases",
    "pam.cell_log",
    "pam.checkpoints",
    "pam.trained",
    "pam.memory",
    "pam.usage",
    "pam.cells",
    "pam.sweep.missing",
    "pam.sweep.arm",
    "pam.sweep.measure",
    "pam.sweep.prediction",
    "pam.sweep.estimate",
    "pam.sweep.disk",
    "pam.sweep.plan",
    "pam.sweep.request",
    "pam.sweep.listing",
    "pam.sweep.local",
    "pam.manifest",
    "pam.provenance",
    "pam.sweep.progress",
    "pam.track",
    "pam.report.fetch",
    "pam.service",
    "pam.overview",
    "pam.standing",
    "pam.sweep.look",
    "pam.sweep.nodes",
    "pam.sweep.schedule",
    "pam.sweep.packing",
    "pam.sweep.preflight",
    "pam.sweep.gauges",
    "pam.sweep.events",
    "pam.sweep.driver",
    "pam.sweep.rehearsal",
    "pam.report.tables",
    "pam.report.captions",
    "pam.report.paired",
    "pam.report.levels",
    "pam.ensemble",
    "pam.export",
    "pam.report.claims",
    "pam.report.results",
    "pam.report.outcomes",
    "pam.report.evidence",
    "pam.report.sheet",
    "pam.report.columns",
    "pam.report.published",
    "pam.report.sheets",
    "pam.report.comparison",
    "pam.report.verdicts",
    "pam.report.render",
    "pam.report.trace",
    "pam.report.figures",
    "pam.report.explorer",
    "pam.report.document",
    "pam.data_report",
    "pam.report.publish",
    "pam.report.verify",
    "pam.field_report",
    "pam.networks.__main__",
    "pam.train.__main__",
    "pam.track.__main__",
    "pam.receptive_fields",
    "pam.prepare",
    "pam.service.__main__",
    "pam.status",
    "pam.sweep",
    "pam.predict",
    "pam.export.__main__",
    "pam.search",
    "pam.report",
    "pam.__main__",
)
ONLY_IMPORTER = {
    "mlflow": "pam.track.runs pam.track.reader pam.track.registered",
    "ray": "pam.sweep.schedule pam.sweep.nodes pam.sweep.gauges",
    "optuna": "pam.search",
    "obstore": "pam.remote",
}
BARE = ("pam.networks", "pam.losses", "pam.metrics", "pam.train", "pam.evaluate", "pam.train.__main__")
BARE_LIBRARIES = {"torch", "numpy", "scipy"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "pam").rglob("*.py"))}


def imports(module: str) -> Iterator[str]:
    """Modules that a module imports anywhere in its file: at the top, in a function or for types only."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in named)


def place(module: str) -> int:
    """Index of a module's line in LAYOUT: its own, else its package's."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 1, -1)]
    return next(LAYOUT.index(name) for name in names if name in LAYOUT)


def third_party() -> set[str]:
    roots = {name.partition(".")[0] for module in MODULES for name in imports(module)}
    return roots - sys.stdlib_module_names - {"pam", "tune_spaces"}


def test_every_module_has_a_place_in_the_layout() -> None:
    lines = {module for module in MODULES if module.count(".") == 1} - {"pam"}
    assert lines <= set(LAYOUT), "a new module needs its line in LAYOUT"
    assert set(LAYOUT) <= MODULES.keys(), "LAYOUT names a module that is gone"


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"pam"}))
def test_imports_go_from_top_to_bottom(module: str) -> None:
    below = {name for name in imports(module) if name.startswith("pam.") and place(name) > place(module)}
    assert not below, f"{module} imports what stands below it"


@pytest.mark.parametrize(("library", "owner"), ONLY_IMPORTER.items())
def test_a_heavy_library_has_one_importer(library: str, owner: str) -> None:
    importers = {module for module in MODULES if library in {name.partition(".")[0] for name in imports(module)}}
    assert importers <= set(owner.split())


def test_networks_to_scores_run_with_torch_numpy_and_scipy_alone() -> None:
    absent = third_party() - BARE_LIBRARIES
    code = f"import sys; sys.modules.update(dict.fromkeys({sorted(absent)})); import {', '.join(BARE)}"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", ["pam.predict", "pam.report.__main__", "pam.status", "pam.sweep.__main__"])
def test_a_command_imports_mlflow_when_it_needs_it(command: str) -> None:
    code = f"import sys; sys.modules['mlflow'] = None; import {command}"  # it takes seconds
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_network_is_tried_on_a_small_image_without_torchs_compiler() -> None:
    code = "import sys; sys.modules['torch._dynamo'] = None; "  # it takes seconds
    code += "from pam import networks; networks.check('unet', (4, 128, 128), width=2)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
