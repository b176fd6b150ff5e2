"""What stands for the code of parts from outside this project."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from pam.errors import StudyError
from pam.source import source_hash

LAB = {
    "lab_nets.py": "from torch import nn\n\nfrom lab_blocks import conv\nimport lab.deep\n",
    "lab_blocks.py": "def conv(): ...\n",
    "lab_unused.py": "def other(): ...\n",
    "lab/__init__.py": "",
    "lab/deep.py": "from . import parts\n\n\ndef late():\n    from .sub.inner import thing\n",
    "lab/parts.py": "",
    "lab/sub/inner.py": "from ..parts import x\n",
    "lab/beside.py": "",
}

Hash = Callable[..., str]


@pytest.fixture
def hash_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hash]:
    """The hash of `lab_nets` in a new folder, with some of its files changed."""
    path, count = list(sys.path), 0

    def hashed(changes: Mapping[str, str] | None = None, folder: str = "", module: str = "lab_nets") -> str:
        nonlocal count
        count += 1
        root = tmp_path / str(count) / folder
        for name, text in {**LAB, **(changes or {})}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(text.encode())
        monkeypatch.setattr(sys, "path", [str(root), *path])
        source_hash.cache_clear()
        return source_hash(module)

    yield hashed
    source_hash.cache_clear()


@pytest.mark.parametrize(
    "changed", ["lab_nets.py", "lab_blocks.py", "lab/__init__.py", "lab/deep.py", "lab/parts.py", "lab/sub/inner.py"]
)
def test_an_edit_of_a_module_or_of_what_it_imports_is_other_code(hash_of: Hash, changed: str):
    assert hash_of({changed: LAB[changed] + "x = 1\n"}) != hash_of()


@pytest.mark.parametrize("changed", ["lab_unused.py", "lab/beside.py"])
def test_an_edit_of_what_it_does_not_import_is_none(hash_of: Hash, changed: str):
    assert hash_of({changed: "x = 1\n"}) == hash_of()


def test_neither_place_nor_line_ends_nor_the_library_count(hash_of: Hash):
    assert (
        hash_of(folder="elsewhere") == hash_of() == hash_of({"lab_nets.py": LAB["lab_nets.py"].replace("\n", "\r\n")})
    )
    assert hash_of({"pam.py": ""}) == hash_of()


def test_an_installed_package_is_hashed_whole_and_alone(hash_of: Hash):
    site = "lib/site-packages"
    first = hash_of(folder=site, module="lab.deep")
    assert hash_of({"lab/beside.py": "x = 1\n"}, folder=site, module="lab.deep") != first
    assert hash_of({"lab_blocks.py": "x = 1\n"}, folder=site, module="lab.deep") == first
    assert hash_of({"lab/sub/inner.py": "x = 1\n"}, folder=site, module="lab_blocks") == hash_of(
        folder=site, module="lab_blocks"
    )


def test_code_that_this_python_cannot_parse_still_counts(hash_of: Hash):
    assert hash_of({"lab_blocks.py": "print 1\n"}) != hash_of({"lab_blocks.py": "print 2\n"})


def test_a_module_without_a_file_is_an_error():
    with pytest.raises(StudyError, match="module 'sys' has no source file"):
        source_hash("sys")
