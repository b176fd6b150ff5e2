"""What a data set is: where its cases lie, what its masks hold, and which labels are the target. Reads no voxel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pam.datasets.options import Datasets, full_name, titled
from pam.errors import DataError
from pam.study import Recipe


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a file or a folder. A warning keeps no case out of a store."""

    path: Path
    message: str  # one line: what was found, what was expected, what to do
    warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Case:
    """One scan: its files, in an order that its data set's reader knows (`pam.data.parts`)."""

    case: str
    patient: str
    images: tuple[Path, ...]  # reader "nifti": one per modality; reader "tiff_slices": one per slice
    target: tuple[Path, ...]  # reader "nifti": one; reader "tiff_slices": one per slice
    numbers: tuple[int, ...] = ()  # slices' numbers in the source, where they are not simply 0, 1, 2 …
    part: str = ""  # "train" or "val", where the data set itself says on which side of a split the case is
    problems: tuple[Problem, ...] = ()  # seen without opening a file; a missing file is still named above

    @property
    def files(self) -> tuple[Path, ...]:
        return self.images + self.target

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if not problem.warning)

    def with_problems(self, more: Iterable[Problem]) -> Case:
        return replace(self, problems=(*self.problems, *more))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What the project knows of a data set."""

    name: str  # its builder's, followed by the options that differ from their defaults: see `pam.datasets.options`
    title: str
    target: str  # the target in words
    expects: str  # one line: what the source folder must look like
    modalities: tuple[str, ...]
    labels: tuple[int, ...]  # every value that a mask may hold
    target_labels: tuple[int, ...]  # those that are the target
    size: tuple[int, int] | None  # (h, w) of the centre crop; None: the largest case's; rounded up to multiples of 8
    zero_outside: bool  # whether 0 means outside the head: such voxels do not count in the normalisation and stay 0
    recipe: Recipe
    reader: str  # of `pam.data.parts.READERS`
    split: str = "folds"  # how its patients are split unless a study says otherwise, see `pam.data.split_choice`
    find: Callable[[Path], list[Case]]  # a module's function or a partial of one: it travels to other processes
    write_source: Callable[[Path], None] | None = None  # phantoms only: makes the source folder
    shrink: int = 1  # of slices read from TIFF: rows and columns brought down by this factor, before any crop
    resampled: tuple[str, ...] = ()  # modalities that lie on a grid of their own and are brought to the target's
    resolve: Callable[[Dataset, Path], Dataset] | None = None  # where the source folder tells modalities and labels
    # Where cases lie side by side: a new case by one of its image files and the modalities that networks were trained
    # on, and the data set as the folder describes it.
    of_file: Callable[[Dataset, Path, tuple[str, ...]], tuple[Dataset, Case]] | None = None
    note: str = ""  # what a reader of results must know of the source
    stand_in: str = "phantom"  # the phantom that a demo uses in its stead
    shown: str = ""  # the modality in which figures show a slice; "": the last
    of_the_source: tuple[str, ...] = ()  # options that tell where something lies, not what is asked for

    def named(self, name: str, options: Mapping[str, str]) -> Dataset:
        """The data set under its builder's name and the options that were chosen."""
        asked = {key: value for key, value in options.items() if key not in self.of_the_source}
        return replace(self, name=full_name(name, asked), title=titled(self.title, asked))

    @property
    def phantom(self) -> bool:
        """Whether the scans are made by this project, not by a scanner."""
        return self.write_source is not None

    def at(self, source: Path) -> Dataset:
        """The data set as the source folder describes it, where that tells more than the name."""
        if self.resolve is None:
            return self
        if not source.is_dir():
            raise DataError(f"{source}: no such folder; expected {self.expects}")
        return self.resolve(self, source)

    def find_cases(self, source: Path) -> list[Case]:
        """Every case of the source folder, sorted by name. Raises `DataError` for the first error of a case."""
        cases = self.find_all(source)
        for case in cases:
            for problem in case.errors:
                raise DataError(f"{problem.path}: {problem.message}")
        return cases

    def find_all(self, source: Path) -> list[Case]:
        """As `find_cases`, with the cases that have problems. Raises `DataError` only if there is no case at all."""
        if not source.is_dir():
            raise DataError(f"{source}: no such folder; expected {self.expects}")
        cases = sorted(self.find(source), key=lambda case: case.case)
        if not cases:
            raise DataError(f"{source}: no case of {self.title} found; expected {self.expects}")
        names = Counter(case.case for case in cases)
        return [case if names[case.case] == 1 else _named_again(source, case) for case in cases]

    def preparation(self) -> dict[str, Any]:
        """All of this description that changes what a slice store holds."""
        return {
            "reader": self.reader,
            "modalities": list(self.modalities),
            "labels": list(self.labels),
            "target_labels": list(self.target_labels),
            "zero_outside": self.zero_outside,
            "size": list(self.size) if self.size else None,
            **({"resampled": list(self.resampled)} if self.resampled else {}),
            **({"shrink": self.shrink} if self.shrink > 1 else {}),
        }


def _named_again(source: Path, case: Case) -> Case:
    again = Problem(path=source, message=f"two cases named {case.case!r}; expected each name once")
    return case.with_problems([again])


DATASETS: Datasets[Dataset] = Datasets("data set")
