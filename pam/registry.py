"""Name → builder. A part registers itself; its name is its function's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from pam.errors import StudyError

T = TypeVar("T")
Builder = Callable[..., T]


class Registry(Generic[T]):
    """Builders of one kind of part, by name.

    Keyword-only parameters of a builder are its options; their defaults are the part's defaults.
    Unknown names and options raise `StudyError` and list what exists; a duplicate name is an error too.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._builders: dict[str, Builder[T]] = {}

    def register(self, builder: Builder[T]) -> Builder[T]:
        name = builder.__name__
        if name in self._builders:
            raise StudyError(f"{self.kind} {name!r} is registered already; registered: {', '.join(self.names())}")
        self._builders[name] = builder
        return builder

    def names(self) -> tuple[str, ...]:
        return tuple(self._builders)

    def get(self, name: str) -> Builder[T]:
        if name not in self._builders:
            raise StudyError(f"unknown {self.kind} {name!r}; there are: {', '.join(self.names())}")
        return self._builders[name]

    def options(self, name: str) -> dict[str, Any]:
        """Options of a part with their defaults, in the order of its signature."""
        parameters = inspect.signature(self.get(name)).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def check_options(self, name: str, options: Mapping[str, object]) -> None:
        known = self.options(name)
        for option in options:
            if option not in known:
                raise StudyError(f"{self.kind} {name!r} has no option {option!r}; it has: {', '.join(known) or 'none'}")

    def build(self, name: str, *args: Any, **options: Any) -> T:
        self.check_options(name, options)
        return self.get(name)(*args, **options)
