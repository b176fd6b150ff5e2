"""The pinned versions are what pyproject.toml allows, and the project tells one version of itself."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PINS = {canonicalize_name(name): version for name, version in (line.split("==") for line in LINES)}
REQUIREMENTS = [*PROJECT["dependencies"], *chain.from_iterable(PROJECT["optional-dependencies"].values())]


@pytest.mark.parametrize("text", REQUIREMENTS)
def test_requirement_has_bounds_and_a_pin_within_them(text: str) -> None:
    requirement = Requirement(text)
    assert {clause.operator for clause in requirement.specifier} == {">=", "<"}
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("line", LINES)
def test_pin_is_exact_and_belongs_to_no_machine(line: str) -> None:
    assert re.fullmatch(r"[\w.-]+==[\w.!]+", line), "expected NAME==VERSION without local part, path or address"


def test_citation_names_the_packages_version() -> None:
    assert f"version: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()
