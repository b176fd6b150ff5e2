"""A data set's options, as part of its name: `brats2018:target=wt` is another data set than `brats2018`."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeVar

from pam.errors import StudyError
from pam.registry import Registry


class Named(Protocol):
    """What takes the name that its options give it."""

    def named(self, name: str, options: Mapping[str, str]) -> Any: ...


N = TypeVar("N", bound=Named)


class Datasets(Registry[N]):
    """As any registry; a name may be followed by options, each as `:key=value`.

    An option whose type is a `Literal` takes those values alone; another's is described by `Annotated`.
    """

    def build(self, name: str, *args: Any, **options: Any) -> N:
        name, told = split(name)
        chosen = {**told, **options}
        self.check_options(name, chosen)
        for key, values in self.choices(name).items():
            if key in chosen and chosen[key] not in values:
                raise StudyError(f"option {key!r} is {chosen[key]!r}; expected one of: {', '.join(values)}")
        defaults = self.options(name)
        deviating = {key: chosen[key] for key in sorted(chosen) if chosen[key] != defaults[key]}
        built: N = self.get(name)(*args, **chosen).named(name, deviating)
        return built

    def choices(self, name: str) -> dict[str, tuple[str, ...]]:
        """Values of the options that take some alone."""
        return {
            key: typing.get_args(kind) for key, kind in self._types(name).items() if typing.get_origin(kind) is Literal
        }

    def expectations(self, name: str) -> dict[str, str]:
        """What each option takes, in words."""
        words = {key: ", ".join(values) for key, values in self.choices(name).items()}
        for key, kind in self._types(name).items():
            if key not in words:
                words[key] = next(iter(getattr(kind, "__metadata__", ())), "any text")
        return {key: words[key] for key in self.options(name)}

    def _types(self, name: str) -> dict[str, Any]:
        try:
            hints = typing.get_type_hints(self.get(name), include_extras=True)
        except NameError:  # of another package, whose annotations name what is imported for types only
            hints = {}
        return {key: hints.get(key, str) for key in self.options(name)}


def split(name: str) -> tuple[str, dict[str, str]]:
    """A builder's name, and the options that follow it."""
    parts = name.split(":")  # the name itself may have one, as in module:function
    count = next((number for number, part in enumerate(parts) if "=" in part), len(parts))
    pairs = [part.partition("=") for part in parts[count:]]
    for key, equals, value in pairs:
        if not (key and equals and value):
            raise StudyError(f"data set {name!r}: {key + equals!r} is no option; expected NAME:KEY=VALUE:KEY=VALUE …")
    return ":".join(parts[:count]), {key: value for key, _, value in pairs}


def full_name(name: str, options: Mapping[str, str]) -> str:
    return ":".join([name, *(f"{key}={options[key]}" for key in sorted(options))])


def titled(title: str, options: Mapping[str, str]) -> str:
    told = ", ".join(f"{key}={options[key]}" for key in sorted(options))
    return f"{title} ({told})" if told else title
