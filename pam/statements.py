"""What a study may claim, and which published rows it is held against. Rows are named as `pam.study.Variant.name`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pam.errors import StudyError
from pam.measures import MEASURES

Levels = tuple[tuple[str, ...], ...]  # of a factor, in order: the rows that share each level


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement to test: `row` has a better mean than each of the rows `over`, per patient, in one score.

    score: by the protocol `patient`, named as in a study's `columns`: iou, dice, hd95 or fn_rate; hd95 is in mm, or in
    pixels where the data set tells no spacing. more: whether a higher value is better.
    relative: state the difference in per cent of the other row's mean. smaller: and `row` has no more parameters than
    any of `over` ("capacity is not the reason").
    """

    id: str
    text: str
    row: str
    over: tuple[str, ...]
    score: str = "iou"
    more: bool = True
    relative: bool = False
    smaller: bool = False

    @property
    def rows(self) -> tuple[str, ...]:
        return (self.row, *self.over)

    def problems(self) -> Iterator[str]:
        if not self.over:
            yield "compares with no row"
        if self.row in self.over:
            yield f"compares {self.row!r} with itself"


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A statement to test: the score gets better from each level of a factor to the next, at least on the whole.

    levels: from the one expected worst to the one expected best, see `pam.study.by_level`. beyond: the same levels in
    other rows, where the trend must be weaker ("only with depth-wise convolutions").
    """

    id: str
    text: str
    levels: Levels
    beyond: Levels = ()
    score: str = "iou"
    more: bool = True

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(row for level in (*self.levels, *self.beyond) for row in level)

    def problems(self) -> Iterator[str]:
        if len(self.levels) < 3:
            yield f"has {len(self.levels)} levels; a trend needs at least 3"
        if self.beyond and len(self.beyond) != len(self.levels):
            yield f"has {len(self.levels)} levels and {len(self.beyond)} beyond; expected as many"
        if not all((*self.levels, *self.beyond)):
            yield "has a level without a row"
        yield from _repeated(self.levels)
        yield from _repeated(self.beyond)


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """A statement to test: no two levels of a factor differ by `margin` or more, in the score's own unit.

    levels: of one row each or of several that are averaged, see `pam.study.by_level`.
    """

    id: str
    text: str
    levels: Levels
    margin: float
    score: str = "iou"

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(row for level in self.levels for row in level)

    def problems(self) -> Iterator[str]:
        if len(self.levels) < 2 or not all(self.levels):
            yield "needs at least 2 levels, each with a row"
        if not self.margin > 0:
            yield f"has margin {self.margin}; expected a number above 0, in the score's unit"
        yield from _repeated(self.levels)


def _repeated(levels: Levels) -> Iterator[str]:
    rows = [row for level in levels for row in level]
    yield from (f"has row {row!r} twice" for row in dict.fromkeys(rows) if rows.count(row) > 1)


AnyClaim = Claim | Trend | Equivalence


def check_claim(claim: AnyClaim, names: list[str], study: str) -> None:
    """Raise `StudyError` for a claim that its study cannot test."""
    problems = list(claim.problems())
    scores = list(dict.fromkeys(measure.name for measure in MEASURES["patient"]))
    if claim.score not in scores:
        problems.append(f"is about {claim.score!r}; expected one of: {', '.join(scores)}")
    unknown = [row for row in claim.rows if row not in names]
    if unknown:
        problems.append(f"names no row of the study: {unknown}; expected its rows: {'; '.join(names)}")
    if problems:
        raise StudyError(f"{study}: claim {claim.id!r} {problems[0]}")
