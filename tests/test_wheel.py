"""The built wheel holds what it should and runs the main job where nothing else of the checkout is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built without network by the backend of the test environment."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([*pip, "wheel", *options, str(ROOT)], check=True)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def read(wheel: Path, name: str) -> str:
    [found] = [path for path in zipfile.ZipFile(wheel).namelist() if path.endswith(f".dist-info/{name}")]
    return zipfile.ZipFile(wheel).read(found).decode()


def test_wheel_holds_every_module_and_no_other_package(names: set[str]) -> None:
    modules = {
        path.relative_to(ROOT).as_posix() for top in ("pam", "tune_spaces") for path in (ROOT / top).rglob("*.py")
    }
    folders = [ROOT / "pam" / "report" / name for name in ("paper_tables", "templates")]
    data = {path.relative_to(ROOT).as_posix() for folder in folders for path in folder.iterdir()}
    assert {name for name in names if ".dist-info/" not in name} == modules | data | {"pam/py.typed"}


def test_wheel_names_its_licence_and_carries_it(wheel: Path) -> None:
    assert "License-Expression: Apache-2.0" in read(wheel, "METADATA")
    assert "Apache License" in read(wheel, "licenses/LICENSE")


def test_wheel_installs_the_command_pam(wheel: Path) -> None:
    assert "pam = pam.__main__:main" in read(wheel, "entry_points.txt")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a new environment that holds the wheel, and sees this one's libraries but not its pam.

    A line in a .pth file adds a folder without reading that folder's own .pth files, so an editable install stays out.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--ignore-installed", str(wheel)], check=True)
    return python


def run(python: Path, *arguments: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python), *arguments]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_installed_wheel_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(installed, "-c", "import pam, tune_spaces; print(pam.__file__, tune_spaces.__file__)", cwd=tmp_path)
    assert all(Path(path).is_relative_to(installed.parent.parent) for path in where.split())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_installed_wheel_runs_the_demo_from_any_directory(installed: Path, tmp_path: Path) -> None:
    # What the demo is made of is not the wheel's matter.
    fewer = ["--only", "unet", "--only", "fpa dilation=6 expansion=4", "--folds", "0", "--set", "epochs=2"]
    run(installed, "-m", "pam.sweep", "fpa_dilation", "--demo", *fewer, cwd=tmp_path)
    run(installed.with_name("pam"), "report", "fpa_dilation", "--out", str(tmp_path / "out"), cwd=tmp_path)
    [page] = (tmp_path / "out" / "fpa_dilation").rglob("README.md")
    assert "phantom" in page.read_text().lower()
    assert {path.name for path in page.parent.iterdir()} >= {"tables", "provenance.json", "figure7.png", "figure7.svg"}
