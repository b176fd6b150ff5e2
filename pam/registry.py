"""Name → builder. A part registers itself; its name is its function's."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from pam.errors import StudyError
from pam.source import is_ours, source_hash

T = TypeVar("T")
Builder = Callable[..., T]
Function = TypeVar("Function", bound=Callable[..., Any])

REQUIRED: Any = inspect.Parameter.empty  # in place of the default of an option that has none


class Registry(Generic[T]):
    """Builders of one kind of part, by name.

    A builder's keyword-only parameters and those with a default are its options; their defaults are the part's.
    A name is a registered function's, an entry point's of the installed packages in `group`, or `module:function`.
    Unknown names and options raise `StudyError` and list what exists; a duplicate name is an error too.
    """

    def __init__(self, kind: str, *, group: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self._builders: dict[str, Builder[T]] = {}
        self._installed: dict[str, importlib.metadata.EntryPoint] | None = None  # read when first asked for

    def register(self, builder: Function) -> Function:
        name = builder.__name__
        if name in self._builders:
            raise StudyError(
                f"{self.kind} {name!r} is registered already; registered: {', '.join(sorted(self._builders))}"
            )
        self._builders[name] = builder
        return builder

    def names(self) -> tuple[str, ...]:
        """Registered names, those of installed packages last."""
        return (*self._builders, *(name for name in self._entry_points() if name not in self._builders))

    def get(self, name: str) -> Builder[T]:
        if name in self._builders:
            return self._builders[name]
        if name in self._entry_points():
            entry_point = self._entry_points()[name]
            return self._imported(name, entry_point.module, entry_point.attr)
        if ":" in name:
            module, _, function = name.partition(":")
            return self._imported(name, module, function)
        known = ", ".join(self.names())
        raise StudyError(f"unknown {self.kind} {name!r}; there are: {known} (or give your own as module:function)")

    def options(self, name: str) -> dict[str, Any]:
        """Options of a part with their defaults (or `REQUIRED`), in the order of its signature."""
        parameters = inspect.signature(self.get(name)).parameters.values()
        return {
            p.name: p.default
            for p in parameters
            if p.kind is p.KEYWORD_ONLY or (p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty)
        }

    def check_options(self, name: str, options: Mapping[str, object]) -> None:
        known = self.options(name)
        for option in options:
            if option not in known:
                raise StudyError(f"{self.kind} {name!r} has no option {option!r}; it has: {', '.join(known) or 'none'}")

    def build(self, name: str, *args: Any, **options: Any) -> T:
        self.check_options(name, options)
        for option, default in self.options(name).items():
            if default is REQUIRED and option not in options:
                raise StudyError(f"{self.kind} {name!r} needs its option {option!r}, which has no default; set it")
        return self.get(name)(*args, **options)

    def code(self, name: str) -> str:
        """Hash of the source of a part from outside this project; "" for one of this project."""
        builder = self.get(name)
        if name in self._builders:
            module = builder.__module__
        elif name in self._entry_points():
            module = self._entry_points()[name].module
        else:
            module = name.partition(":")[0]
        return "" if is_ours(module) else source_hash(module)

    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        if self._installed is None:
            self._installed = {}
            for entry_point in importlib.metadata.entry_points(group=self.group) if self.group else ():
                self._add(entry_point, self._installed)
        return self._installed

    def _add(
        self, entry_point: importlib.metadata.EntryPoint, installed: dict[str, importlib.metadata.EntryPoint]
    ) -> None:
        """Take up one entry point; the same target under the same name twice is one part, not two."""
        name, target = entry_point.name, entry_point.value
        builder, other = self._builders.get(name), installed.get(name)
        taken = f"{builder.__module__}:{builder.__name__}" if builder else other.value if other else target
        if taken != target:
            raise StudyError(
                f"{self.kind} {name!r} of entry point {self.group!r} ({target}) is registered already by {taken}; "
                f"rename it or remove its package; registered: {', '.join([*self._builders, *installed])}"
            )
        installed[name] = entry_point

    def _imported(self, name: str, module_name: str, function: str) -> Builder[T]:
        try:
            module = importlib.import_module(module_name)
        except (ImportError, SyntaxError) as error:
            raise StudyError(
                f"{self.kind} {name!r}: importing {module_name!r} failed ({error}); "
                "expected an installed module or one in the folder that `python -m` is run from"
            ) from error
        builder: object = module
        for part in function.split("."):  # an entry point may name a class's method
            builder = getattr(builder, part, None)
        if not callable(builder):
            own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
            raise StudyError(
                f"{self.kind} {name!r}: no function {function!r} in {module_name}; it has: {', '.join(own) or 'none'}"
            )
        return builder
