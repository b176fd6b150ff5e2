"""The slice store: prepared data as flat memory-mapped arrays with an index, found by the data set's name."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pam import files, home
from pam.counts import counted
from pam.data import columns, folds, splits
from pam.data.folds import Split, check_splits
from pam.data.geometry import Crop, Geometry
from pam.data.processes import exclusive
from pam.errors import DataError
from pam.files import write_text

if TYPE_CHECKING:  # a prepared store is trained on where pandas is absent
    import pandas as pd

IMAGES, MASKS, INDEX, ABOUT, LATEST = "images.npy", "masks.npy", "index.parquet", "store.json", "latest"


class Store:
    """A prepared data set: every slice of every case, by case and then by slice. Loads what is asked for."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.dataset: str = about["dataset"]
        self.title: str = about["title"]
        self.target: str = about["target"]
        self.phantom: bool = about["phantom"]
        self.modalities: tuple[str, ...] = tuple(about["modalities"])
        self.hash: str = about["hash"]  # content hash of images, masks and index
        self.left_out: list[dict[str, Any]] = about.get("left_out", [])  # cases with errors: case, patient, errors
        self.note: str = about.get("note", "")  # what a reader of results must know of the source
        self._cases: dict[str, dict[str, Any]] = about["cases"]

    def __reduce__(self) -> tuple[Any, ...]:
        """A store travels to other processes as its path, never as its content."""
        return open, (home.portable(self.path),)

    @property
    def label(self) -> str:
        """The title, with the word phantom where the scans are made by this project."""
        return f"{self.title} (phantom)" if self.phantom and "phantom" not in self.title.lower() else self.title

    @cached_property
    def images(self) -> np.memmap:
        """n c h w float16, normalised per case and modality, by `pam.data.slices.cut`."""
        return _array(self.path / IMAGES)

    @cached_property
    def masks(self) -> np.memmap:
        """n h w uint8: 1 where the target is, else 0."""
        return _array(self.path / MASKS)

    @cached_property
    def index(self) -> pd.DataFrame:
        """One row per slice.

        Columns: patient, case, slice, target_pixels, brain_pixels, spacing_{d,h,w} in mm (NaN where the source does
        not tell), crop_{top,left}, source_{h,w}, source_hash.
        """
        try:
            import pandas as pd  # noqa: PLC0415
        except ImportError as error:
            raise DataError(f"{self.path / INDEX}: reading it takes pandas and pyarrow ({error})") from error
        return pd.read_parquet(self.path / INDEX)

    @cached_property
    def columns(self) -> columns.Columns:
        """`index` as plain arrays. A store made before they were kept gets them from its index."""
        kept = columns.read(self.path)
        if kept is None:
            kept = columns.of(self.index)
            with suppress(PermissionError):  # someone else's store
                columns.write(self.path, kept)
        return kept

    @property
    def patients(self) -> tuple[str, ...]:
        return tuple(sorted({case["patient"] for case in self._cases.values()}))

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(self._cases)

    @property
    def target_cut(self) -> int:
        """Target voxels that lie outside the crop: no score knows of them."""
        return sum(case["target_cut"] for case in self._cases.values())

    @property
    def float16_loss(self) -> float:
        """Float16's rounding error within a modality's middle half, as a share of that half's spread; of the worst."""
        return max((loss for case in self._cases.values() for loss in case.get("loss", ())), default=math.nan)

    @property
    def largest(self) -> float:
        """No stored value lies farther from 0, in standard deviations; float16 holds 65,504."""
        return max((value for case in self._cases.values() for value in case.get("largest", ())), default=math.nan)

    @property
    def remarks(self) -> list[str]:
        """What a reader of results must know of the data, a sentence each: the source's note, and cases left out."""
        left = ", ".join(case["case"] for case in self.left_out)
        count = len(self.left_out) + len(self._cases)
        said = [self.note[:1].upper() + self.note[1:]] if self.note else []
        return said + (
            [f"{len(self.left_out)} of {counted(count, 'case')} left out for their errors: {left}"] if left else []
        )

    def describe(self) -> dict[str, Any]:
        """What a result's provenance says of its data."""
        return {
            "dataset": self.dataset,
            "title": self.title,
            "target": self.target,
            "phantom": self.phantom,
            "modalities": list(self.modalities),
            "patients": len(self.patients),
            "cases": len(self._cases),
            "slices": len(self.images),
            "size": list(self.images.shape[-2:]),
            "target_cut": self.target_cut,
            "left_out": [case["case"] for case in self.left_out],
            "note": self.note,
            "hash": self.hash,
        }

    def folds(self, k: int) -> list[Split]:
        """The store's k splits by patient, kept beside it so that no later version of this program draws others.

        Raises `DataError` if there are fewer patients than folds, or if the file does not split the store's patients.
        """
        return list(self._kept(f"folds-{k}.json", lambda: folds.k_fold(self.patients, k), folds.check_folds))

    def stratified_folds(self, k: int) -> list[Split]:
        """As `folds`, each test side with the range of target sizes that all patients have."""
        patients, where = np.unique(self.columns["patient"], return_inverse=True)
        totals = np.bincount(where, weights=self.columns["target_pixels"])  # whole numbers: exact as float64
        sizes = dict(zip(patients.tolist(), totals.tolist(), strict=True))
        name = f"stratified-{k}.json"
        return list(self._kept(name, lambda: splits.stratified_k_fold(sizes, k), folds.check_folds))

    def ratio_split(self, ratio: tuple[float, float, float] = splits.RATIO) -> Split:
        """One split by patient into training, validation and test, kept as `folds` are."""
        name = f"ratio-{'-'.join(f'{share:g}' for share in ratio)}.json"
        return self._kept(name, lambda: (splits.by_ratio(self.patients, ratio),))[0]

    def fixed_split(self, held_out: str | None = None) -> Split:
        """The data set's own split, one training patient held out, kept too. Raises `DataError` if it has none."""
        drawn = splits.fixed([(case["patient"], case.get("part", "")) for case in self._cases.values()], held_out)
        return self._kept(f"fixed-{drawn.hash}.json" if held_out else "fixed.json", lambda: (drawn,))[0]

    def nnunet_splits(self, path: Path) -> list[Split]:
        """The splits of an nnU-Net `splits_final.json`, kept by their content: its path may change or go.

        Raises `DataError` unless they split this store's patients.
        """
        patients = {name: case["patient"] for name, case in self._cases.items()}
        try:
            imported = splits.from_nnunet(path.read_text(encoding="utf-8"), patients)
            check_splits(imported, self.patients)
        except (OSError, UnicodeDecodeError, DataError) as error:
            raise DataError(f"{path}: {error}") from error
        return list(self._kept(f"nnunet-{folds.splits_hash(imported)}.json", lambda: imported))

    def _kept(
        self,
        name: str,
        make: Callable[[], tuple[Split, ...]],
        check: Callable[[tuple[Split, ...], tuple[str, ...]], None] = check_splits,
    ) -> tuple[Split, ...]:
        """The splits of a file beside the store, drawn and written if there is none, and checked in any case."""
        path = self.path / name
        if not files.exists(path):
            drawn = make()
            try:
                write_text(path, folds.to_json(drawn))
            except PermissionError:  # someone else's store: the draw is a function of its patients, so nothing is lost
                return drawn
        try:
            kept = folds.from_json(files.here(path).read_text())
            check(kept, self.patients)
        except DataError as error:
            raise DataError(f"{path}: {error}; delete the file to have it drawn again") from error
        return kept

    def rows(self, case: str) -> np.ndarray:
        """Rows of a case's slices, ascending. Raises `DataError` for an unknown case."""
        about = self._case(case)
        return np.arange(about["first"], about["first"] + about["slices"])

    def cases_of(self, patients: Sequence[str]) -> list[tuple[str, str]]:
        """(patient, case) of every case of these patients, sorted."""
        return sorted(
            (about["patient"], case) for case, about in self._cases.items() if about["patient"] in set(patients)
        )

    def uncrop(self, case: str, mask: np.ndarray) -> np.ndarray:
        """A case's mask (d h w), of the crop, as one of the whole source (d H W, RAS+): zero outside the crop."""
        crop, slices = self._crop(case), self._case(case)["slices"]
        if mask.shape != (slices, *crop.size):
            raise DataError(f"case {case!r}: a mask of shape {mask.shape}; expected {(slices, *crop.size)}")
        return crop.undo(mask)

    def inside(self, case: str) -> tuple[slice, slice]:
        """Rows and columns of the case's slices that its source fills; the rest is padding, which no score counts."""
        return self._crop(case).inside

    def geometry(self, case: str) -> Geometry | None:
        """The case's place in its source's space; None where the source has none."""
        about = self._case(case)["geometry"]
        return Geometry(header=bytes.fromhex(about["header"]), shape=tuple(about["shape"])) if about else None

    def _crop(self, case: str) -> Crop:
        about = self._case(case)
        return Crop(source=tuple(about["source"]), size=self.images.shape[-2:], top=about["top"], left=about["left"])

    def _case(self, case: str) -> dict[str, Any]:
        if case not in self._cases:
            raise DataError(
                f"{self.path}: no case {case!r}; the first of its {len(self._cases)} is {next(iter(self._cases))!r}"
            )
        return self._cases[case]


def open(path: Path | str) -> Store:  # noqa: A001  # read as `store.open`
    """The store in a folder. Raises `DataError` if it is none, or is not whole."""
    path = home.located(path)
    if files.is_remote(path / ABOUT) and not (path / ABOUT).exists():
        _fetch(path)
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        store = Store(path, about)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: no slice store ({error}); prepare the data set again") from error
    images, masks = store.images, store.masks
    count, channels, *size = about["shape"]
    if images.shape != (count, channels, *size) or masks.shape != (count, *size):
        raise DataError(
            f"{path}: arrays of {images.shape} and {masks.shape}, expected {about['shape']}; prepare the data set again"
        )
    return store


def find(dataset: str) -> Store:
    """The store of a data set that was prepared last. Raises `DataError`, with the command to run, if there is none."""
    pointer = folder(dataset) / LATEST
    if not files.exists(pointer):
        name, *_ = dataset.split(":")
        others = [path.parent.name for path in files.found(home.prepared(), f"{name}*/{LATEST}")]
        there = [other for other in others if other.split(":")[0] == name]
        raise DataError(
            f"{files.address(folder(dataset))}: data set {dataset!r} is not prepared; "
            f"run: python -m pam.prepare {dataset} --source DIR" + (f" (prepared: {', '.join(there)})" if there else "")
        )
    return open(folder(dataset) / files.here(pointer).read_text().strip())


def register(store: Store) -> None:
    """Make a store the one that `find` gives, on every machine of an object store's."""
    if files.is_remote(store.path) and not files.exists(store.path / ABOUT):
        for path in sorted(store.path.iterdir(), key=lambda path: path.name == ABOUT):  # last: it tells of all
            files.send(path)
    write_text(store.path.parent / LATEST, store.path.name)


def _fetch(path: Path) -> None:
    """Bring a store to this machine, once: of its processes, one does and the others wait. Nothing if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path.parent / f".{path.name}.lock", waiting=lambda: None):
        if (path / ABOUT).exists() or not files.exists(path / ABOUT):
            return
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as partial:
            files.fetch(path, Path(partial) / path.name)
            (Path(partial) / path.name).rename(path)


def folder(dataset: str) -> Path:
    """Where a data set's stores are."""
    return home.prepared() / dataset


def _array(path: Path) -> np.memmap:
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error}); prepare the data set again") from error
    assert isinstance(array, np.memmap)
    return array
