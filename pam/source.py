"""The source behind a part from outside this project: what stands for its code in a cell's id."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pam.errors import StudyError

INSTALLED = {"site-packages", "dist-packages"}  # folders whose packages have versions; elsewhere lies somebody's code


@cache  # of the code as it was when first asked for, which is what this process has imported
def source_hash(module: str) -> str:
    """Hash of the source of a module and of all that it imports from its own package, its folder and other checkouts.

    An installed package is hashed whole, and what it or somebody's code imports from other installed packages is left
    out: provenance holds versions. Any edit counts, a comment too; a file's place does not. Imports by a computed name
    are not seen. Raises `StudyError` for a module without a file.
    """
    file = _file(module)
    if file is None:
        raise StudyError(f"module {module!r} has no source file to identify its code by; expected a .py file")
    digest = hashlib.sha256()
    found = _whole_package(module, file) if INSTALLED & set(file.parts) else _imported(module)
    for name in sorted(found):
        digest.update(f"{name}\0".encode() + found[name].read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:16]


def is_ours(module: str) -> bool:
    """Whether a module is this project's: `RESULTS_VERSION` stands for its code."""
    return module.partition(".")[0] == __name__.partition(".")[0]


def _whole_package(module: str, file: Path) -> dict[str, Path]:
    top = module.partition(".")[0]
    main = _file(top)
    if main is None or main.name != "__init__.py":  # one file, or a namespace package
        return {module: file}
    return {path.relative_to(main.parent).as_posix(): path for path in main.parent.rglob("*.py")}


def _imported(module: str) -> dict[str, Path]:
    """Module → file: the module, its packages, and what they import from outside of installed packages."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = None if name in found or _excluded(name) else _file(name)
        if file is None or INSTALLED & set(file.parts):
            continue
        found[name] = file
        waiting += [*_packages(name), *(_imports(name, file) if file.suffix == ".py" else ())]
    return found


def _excluded(name: str) -> bool:
    return is_ours(name) or name.partition(".")[0] in sys.stdlib_module_names


def _packages(name: str) -> Iterator[str]:
    """The packages that a module lies in, which are imported before it."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _imports(name: str, file: Path) -> Iterator[str]:
    """Names that may be modules, of every import statement of a file."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # of another version of Python; so this one does not import it either
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(filter(None, [above, node.module]))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _file(name: str) -> Path | None:
    """Where a module's source is; None for what is no module or has no file. Imports nothing."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module that was made by hand
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.has_location and spec.origin else None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *rest)
        for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None
