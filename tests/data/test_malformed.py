"""Files and folders that are no sound BRATS case, each with the line that a user reads.

There are more in `test_check.DAMAGES`, of single files in `test_nifti.BAD`, of TIFF in `test_datasets`, of PNG in
`test_cityscapes.FAULTS`, and of ISLES' folders and dataset.json in `test_stroke_and_decathlon`.
"""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pam import cli
from pam.data.check import check
from pam.data.prepare import prepare
from pam.datasets import DATASETS, phantom
from pam.errors import DataError
from pam.prepare import main

CASE = "Brats18_PHANTOM_002_1"
DIM, DATATYPE, BITPIX, PIXDIM, VOX_OFFSET, SLOPE, SROW, MAGIC = 40, 70, 72, 76, 108, 112, 280, 344  # bytes of a header
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    phantom.write_tree(folder, patients=2, shape=(4, 24, 27))
    return folder


def at(ending: str, damage: Damage) -> Damage:
    """Damage to one file of the case."""
    return lambda source: damage(source / "HGG" / CASE / f"{CASE}{ending}.nii.gz")


def edited(ending: str, offset: int, form: str, *values: float | bytes) -> Damage:
    """Fields of the header as they should not be."""

    def damage(path: Path) -> None:
        content = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into(form, content, offset, *values)
        path.write_bytes(gzip.compress(bytes(content)))

    return at(ending, damage)


def rewritten(ending: str, change: Callable[[bytes], bytes]) -> Damage:
    return at(ending, lambda path: path.write_bytes(change(path.read_bytes())))


def replaced(ending: str, make: Callable[[nib.Nifti1Image], nib.spatialimages.SpatialImage], suffix: str) -> Damage:
    """Another format behind a NIfTI's name."""

    def damage(path: Path) -> None:
        made = path.with_name(f"made{suffix}")
        make(nib.load(path)).to_filename(made)
        shutil.move(made, path)

    return at(ending, damage)


def voxels(ending: str, change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(path: Path) -> None:
        image = nib.load(path)
        nib.Nifti1Image(change(np.asarray(image.dataobj)), image.affine).to_filename(path)

    return at(ending, damage)


def broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("gone.nii.gz"))


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def renamed(path: Path) -> None:
    path.rename(path.with_name(path.name.replace(CASE, "Brats18_OTHER_1")))


def plain_name(path: Path) -> None:
    path.rename(path.with_suffix(""))


def zipped_twice(content: bytes) -> bytes:
    return gzip.compress(content)


def swapped(source: Path) -> None:
    """The other patient's scan in one modality."""
    other = "Brats18_PHANTOM_001_1"
    shutil.copy(source / "HGG" / other / f"{other}_t1ce.nii.gz", source / "HGG" / CASE / f"{CASE}_t1ce.nii.gz")


def a_few_bright(scan: np.ndarray) -> np.ndarray:
    scan = scan.astype(np.float64)
    inside = np.flatnonzero(scan)
    scan.flat[inside[: len(inside) // 50]] = 1e9
    return scan


def with_voxel(scan: np.ndarray, value: float) -> np.ndarray:
    scan = scan.astype(np.float32)
    scan[13, 12, 2] = value
    return scan


def nearly_flat(scan: np.ndarray) -> np.ndarray:
    return np.where(scan != 0, 1e7 + scan / 1e5, 0)


MALFORMED: dict[str, tuple[Damage, str]] = {
    "dimensions 0": (edited("_t1", DIM, "<8h", 3, 0, 24, 4, 1, 1, 1, 1), "three dimensions|cannot be read"),
    "dimensions below 0": (edited("_t1", DIM, "<8h", 3, -5, 24, 4, 1, 1, 1, 1), "three dimensions|cannot be read"),
    "no dimension": (edited("_t1", DIM, "<8h", 0, 1, 1, 1, 1, 1, 1, 1), "cannot be read|three dimensions"),
    "one dimension": (edited("_t1", DIM, "<8h", 1, 27, 1, 1, 1, 1, 1, 1), r"shape \(27,\); expected a volume"),
    "five dimensions": (edited("_seg", DIM, "<8h", 5, 3, 9, 24, 2, 2, 1, 1), "expected a volume of three dimensions"),
    "a fourth of one volume": (edited("_t2", DIM, "<8h", 4, 27, 24, 4, 1, 1, 1, 1), r"\(27, 24, 4, 1\); expected"),
    "more voxels than the file holds": (edited("_t1", DIM, "<8h", 3, 27, 24, 40, 1, 1, 1, 1), "voxels cannot be read"),
    "as many voxels as no machine holds": (
        edited("_flair", DIM, "<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1),
        "voxels cannot be read .*is the file truncated",
    ),
    "axes exchanged": (edited("_t2", DIM, "<8h", 3, 24, 27, 4, 1, 1, 1, 1), "differs from that of"),
    "type unknown": (edited("_t1", DATATYPE, "<h", 9999), "cannot be read as NIfTI"),
    "type 0": (edited("_seg", DATATYPE, "<h", 0), "cannot be read|expected integers or floats"),
    "colour": (edited("_t1", DATATYPE, "<2h", 128, 24), "expected integers or floats|cannot be read"),
    "complex": (edited("_t1ce", DATATYPE, "<2h", 32, 64), "cannot be read|expected integers or floats"),
    "wider type than the file holds": (edited("_t1", DATATYPE, "<2h", 64, 64), "voxels cannot be read"),
    "voxels beyond the end": (edited("_t1", VOX_OFFSET, "<f", 1e6), "cannot be read"),
    "voxels at no place": (edited("_t1", VOX_OFFSET, "<f", float("nan")), "cannot be read"),
    "voxels before the header's end": (edited("_t1", VOX_OFFSET, "<f", -16.0), "cannot be read"),
    "intercept not a number": (edited("_t1", SLOPE, "<2f", 1.0, float("nan")), "cannot be read|NaN or infinite"),
    "intercept infinite": (edited("_t1", SLOPE, "<2f", 1.0, float("inf")), "cannot be read|NaN or infinite"),
    "slope that overflows": (edited("_t1", SLOPE, "<2f", 3e38, 0.0), "standard deviation of"),
    "labels scaled": (edited("_seg", SLOPE, "<2f", 0.5, 0.0), r"label values \{0, 0\.5, 1, 2\}"),
    "labels shifted": (edited("_seg", SLOPE, "<2f", 1.0, 1.0), "label values .*5"),
    "axes without length": (edited("_t1", SROW, "<12f", *[0.0] * 12), "affine .* has no volume"),
    "axes not a number": (edited("_t1", SROW, "<f", float("nan")), "affine .* has no volume|cannot be read"),
    "axes infinite": (edited("_flair", SROW, "<f", float("inf")), "affine .* has no volume|cannot be read"),
    "two axes in one direction": (
        edited("_seg", SROW, "<12f", -1, 0, 0, 0, -1, 0, 0, 0, 0, 0, 1, 0),
        "affine .* has no volume",
    ),
    "turned by a degree": (
        edited("_t2", SROW, "<12f", -0.99985, 0.01745, 0, 0, -0.01745, -0.99985, 0, 23, 0, 0, 1, 0),
        "spacing, axes or origin differ",
    ),
    "another slice distance": (edited("_t2", SROW + 40, "<f", 1.5), "spacing, axes or origin differ"),
    "no magic": (edited("_t1", MAGIC, "<4s", b"\0\0\0\0"), "expected NIfTI|cannot be read"),
    "no gzip behind its name": (rewritten("_t1", gzip.decompress), "cannot be read as NIfTI"),
    "gzip of gzip": (rewritten("_t1", zipped_twice), "cannot be read as NIfTI"),
    "gzip of nothing": (rewritten("_t1", lambda _: gzip.compress(b"")), "cannot be read as NIfTI"),
    "gzip of a page": (rewritten("_seg", lambda _: gzip.compress(b"<html>login</html>" * 40)), "as NIfTI"),
    "a page": (rewritten("_t2", lambda _: b"<!DOCTYPE html><html>404</html>"), "cannot be read as NIfTI"),
    "zeros": (rewritten("_t2", lambda content: b"\0" * len(content)), "cannot be read as NIfTI"),
    "a wrong checksum": (rewritten("_t1", lambda content: content[:-8] + b"\1\2\3\4" + content[-4:]), "hecksum"),
    "a wrong length at the end": (rewritten("_t1", lambda content: content[:-4] + b"\1\2\3\4"), "voxels cannot be"),
    "no end": (rewritten("_flair", lambda content: content[:-300]), "voxels cannot be read .*truncated"),
    "a hole of zeros": (
        rewritten("_flair", lambda content: content[:1000] + b"\0" * 512 + content[1512:]),
        "voxels cannot be read",
    ),
    "a .nii that is compressed": (at("_t1", plain_name), "cannot be read as NIfTI"),
    "Analyze": (
        replaced("_t1", lambda scan: nib.AnalyzeImage(np.asarray(scan.dataobj), scan.affine), ".img"),
        "cannot be read as NIfTI",
    ),
    "MGH": (
        replaced("_t1", lambda scan: nib.MGHImage(np.asarray(scan.dataobj).astype(np.int16), scan.affine), ".mgz"),
        "cannot be read as NIfTI",
    ),
    "a link to nothing": (at("_t1", broken_link), "no such file"),
    "a folder": (at("_t2", folder_instead), "cannot be read"),
    "another case's name": (at("_seg", renamed), "_seg.nii.gz is missing"),
    "a case folder without files": (
        lambda source: [path.unlink() for path in (source / "HGG" / CASE).iterdir()],
        "is missing; found nothing",
    ),
    "one modality of another patient": (swapped, "T1ce equal to case Brats18_PHANTOM_001_1"),
    "label 5": (voxels("_seg", lambda labels: np.where(labels == 4, 5, labels)), r"label values \{0, 1, 2, 5\}"),
    "labels of 8 bits": (voxels("_seg", lambda labels: labels * np.uint8(60)), r"label values \{0, 60, 120, 240\}"),
    "labels beside whole numbers": (voxels("_seg", lambda labels: labels + np.float32(0.01) * (labels > 0)), "1.01"),
    "a scan for a mask": (
        lambda source: shutil.copy(
            source / "HGG" / CASE / f"{CASE}_t1.nii.gz", source / "HGG" / CASE / f"{CASE}_seg.nii.gz"
        ),
        r"label values \{.*…\}, expected a subset",
    ),
    "one value in a few voxels": (voxels("_t1", lambda scan: (scan > scan.max() - 1) * np.int16(9)), "is 9 everywhere"),
    "a constant of floats": (voxels("_t1", lambda scan: (scan != 0) * 0.1), "modality T1 is 0.1 everywhere"),
    "a few voxels so bright that tissues blur": (voxels("_t1", a_few_bright), "float16 would blur"),
    "contrast lost beside its mean": (voxels("_t1ce", nearly_flat), "float16 would blur"),
    "not a number in one voxel": (voxels("_t1", lambda scan: with_voxel(scan, np.nan)), "1 voxels are NaN or infinite"),
    "an infinite voxel": (voxels("_t2", lambda scan: with_voxel(scan, -np.inf)), "1 voxels are NaN or infinite"),
    "nothing but zeros": (voxels("_flair", np.zeros_like), "modality FLAIR is zero everywhere"),
    "no mask": (at("_seg", Path.unlink), "_seg.nii.gz is missing; found .*_flair.nii.gz"),
    "no modality": (at("_flair", Path.unlink), "_flair.nii.gz is missing; found .*_seg.nii.gz"),
    "a modality twice": (
        at("_t2", lambda path: path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))),
        "both .*_t2.nii.gz and .*_t2.nii; expected one of them",
    ),
    "no byte": (rewritten("_t1ce", lambda _: b""), r"the file is empty \(zero bytes\)"),
    "slices missing": (voxels("_t1", lambda scan: scan[:, :, 1:]), "differs from that of"),
    "values beyond single precision": (voxels("_t2", lambda scan: scan * 1e300), "standard deviation of .*damaged"),
}  # fmt: skip


def test_they_are_at_least_sixty():
    assert len(MALFORMED) >= 60


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_file_is_one_line_of_its_case(
    sound: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
):
    source = tmp_path / "source"
    shutil.copytree(sound, source)
    damage, expected = MALFORMED[kind]
    damage(source)
    table = check(DATASETS.build("brats2018"), source, workers=1, progress=lambda *_: None).table
    errors = table[table.severity == "error"]
    assert errors[errors.case == CASE].problem.str.contains(expected).any(), errors.problem.tolist()
    assert not errors.problem.str.contains("\n").any()
    with pytest.raises(DataError, match=expected) as error:
        prepare(DATASETS.build("brats2018"), source)
    assert CASE in str(error.value) and "\n" not in str(error.value)
    assert cli.guarded(main, ("brats2018", "--source", str(source))) == cli.BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1
