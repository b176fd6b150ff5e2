"""Short names for the levels of a factor: what their rows share and the other levels do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pam.statements import Levels
from pam.study import Study

Settings = Mapping[str, Mapping[str, Any]]  # row → its network's options and what its recipe changes


def settings_of(study: Study) -> Settings:
    return {row.name: {**row.options, **row.recipe} for row in study.rows}


def level(rows: tuple[str, ...], levels: Levels, settings: Settings) -> str:
    """A level's name: "dilation=6"; of one that no setting tells from the others, its rows'."""
    own, all_rows = _shared(rows, settings), [row for other in levels for row in other]
    common = _shared(all_rows, settings)
    apart = _told({key: value for key, value in own.items() if key not in common})
    return apart or (" + ".join(rows) if len(rows) < 3 else f"{rows[0]} + {len(rows) - 1} more")


def span(levels: Levels, settings: Settings, beyond: Levels = ()) -> str:
    """From the first level to the last: "dilation=6 → dilation=12 (3 levels)".

    beyond: levels of other rows; settings that tell all rows of `levels` from those are named, too.
    """
    first, last = (level(rows, levels, settings) for rows in (levels[0], levels[-1]))
    common, others = (_shared([row for rows in of for row in rows], settings) for of in (levels, beyond))
    apart = _told({key: value for key, value in common.items() if key in others and others[key] != value})
    return f"{first} → {last}{f', {apart}' if apart else ''} ({len(levels)} levels)"


def _shared(rows: Iterable[str], settings: Settings) -> dict[str, Any]:
    """What all rows set alike."""
    first, *others = [settings[row] for row in rows] or [{}]
    return {key: value for key, value in first.items() if all(key in o and o[key] == value for o in others)}


def _told(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in settings.items())
