"""What a case will take is told by its headers; one too large for memory is read to disk, and stored the same."""

import gzip
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform

from pam.data import gzipped, nifti, pages, parts, pieces, room, scans
from pam.data.check import check
from pam.data.prepare import prepare
from pam.data.scale import scale
from pam.datasets import DATASETS, phantom
from pam.errors import DataError

SHAPE = (4, 20, 24)  # d h w
CODES = ["RAS", "LPS", "SPL", "ILA", "PSR", "ARI"]
TYPES = ["uint8", "int16", ">i2", "uint16", "int32", "float32", ">f4", "float64"]


def saved(path: Path, dtype: str, slope: float = 1.0, inter: float = 0.0) -> Path:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), dtype), np.eye(4), dtype=np.dtype(dtype).newbyteorder("="))
    image.header.set_slope_inter(slope, inter)
    image.to_filename(path)
    return path


@pytest.mark.parametrize(
    ("name", "dtype", "scaling", "values", "besides"),
    [
        ("a.nii", "int16", (1.0, 0.0), 120, 0),
        ("b.nii", "float32", (1.0, 0.0), 240, 0),
        ("c.nii", "int16", (1.0, -1024.0), 480, 120),  # becomes float64
    ],
)
def test_memory_is_told_by_the_header(tmp_path: Path, name, dtype, scaling, values: int, besides: int):
    path = saved(tmp_path / name, dtype, *scaling)
    assert (nifti.size(path).values, nifti.size(path).besides) == (values, besides)
    assert nifti.size(path).shape == nifti.read_shape(path)
    assert nifti.read(path).voxels.nbytes == values
    packed = saved(tmp_path / f"{name}.gz", dtype, *scaling)
    assert nifti.size(packed).besides == besides + packed.stat().st_size


def written(folder: Path, dtype: str, codes: str, scaling: tuple[float, float], ending: str) -> Path:
    """A scan of 11 × 9 × 7 voxels (RAS), as it lies in a file of such a type, byte order, axes and scaling."""
    generator = np.random.default_rng(5)
    scan = generator.normal(90, 40, (11, 9, 7)).clip(0, 250) * (generator.uniform(size=(11, 9, 7)) < 0.7)
    header = nib.Nifti1Header(endianness=dtype[0] if dtype[0] in "<>" else "<")
    header.set_data_dtype(np.dtype(dtype))
    image = nib.Nifti1Image(scan.astype(dtype), np.diag([1.0, 2, 3, 1]), header)
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
    content = bytearray(image.as_reoriented(turn).to_bytes())
    content[112:120] = np.array(scaling, f"{header.endianness}f4").tobytes()  # scl_slope, scl_inter
    path = folder / f"scan{ending}"
    path.write_bytes(gzip.compress(bytes(content), 1) if ending == ".nii.gz" else bytes(content))
    return path


@settings(max_examples=25)
@given(
    st.sampled_from(TYPES),
    st.sampled_from(CODES),
    st.sampled_from([(1.0, 0.0), (1.0, -20.0), (0.5, 0.0), (2.0, 0.25)]),
    st.sampled_from([".nii", ".nii.gz"]),
    st.booleans(),
    st.integers(1, 4000),
)
def test_what_is_read_to_disk_is_what_is_read_to_memory(
    dtype: str, codes: str, scaling: tuple[float, float], ending: str, zero_outside: bool, at_once: int
):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("PAM_HOME", folder)
        path = written(Path(folder), dtype, codes, scaling, ending)
        held = nifti.read(path)
        assert np.allclose(held.voxels, nib.as_closest_canonical(nib.load(path)).get_fdata().T)
        assert nifti.size(path).values == held.voxels.nbytes
        for module, name in ((pieces, "RELEASED"), (pieces, "PLANES"), (nifti, "VALUES"), (gzipped, "AT_ONCE")):
            patch.setattr(module, name, at_once)
        kept = nifti.read(path, on_disk=True)
        assert pages.is_mapped(kept.voxels) and kept.voxels.dtype == held.voxels.dtype
        assert kept.voxels.strides == held.voxels.strides
        slabs = [pieces.planes(kept.voxels, rows) for rows in pieces.rows_at_once(kept.voxels)]
        assert not any(map(pages.is_mapped, slabs))
        assert np.array_equal(np.concatenate(slabs), held.voxels)
        ways = [scale(voxels, "T1", zero_outside=zero_outside) for voxels in (held.voxels, kept.voxels)]
        assert replace(ways[0], table=None) == replace(ways[1], table=None)
        assert np.array_equal(*(how.apply(held.voxels) for how in ways))
    assert not list(Path(folder).glob("**/*"))


def content(path: Path) -> list[bytes]:
    return [(path / name).read_bytes() for name in ("images.npy", "masks.npy", "store.json")]


def small(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Let every case be too large for memory, and look at little of it at once."""
    monkeypatch.setattr(room, "HELD", 0)
    monkeypatch.setattr(pieces, "PLANES", 20 * 24 * 12)
    monkeypatch.setattr(pieces, "RELEASED", 1000)
    monkeypatch.setenv("PAM_HOME", str(home))


def test_a_store_made_by_way_of_the_disk_is_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    phantom.write_tree(tmp_path / "source", patients=3, shape=SHAPE)
    dataset = DATASETS.build("brats2018")
    expected = prepare(dataset, tmp_path / "source", workers=1)
    found = check(dataset, tmp_path / "source", workers=1, progress=lambda *_: None).table
    small(monkeypatch, tmp_path / "other")
    kept: list[bool] = []
    original = parts.read
    monkeypatch.setattr(scans, "parts_of", lambda *case: kept.append((read := original(*case)).on_disk) or read)
    store = prepare(dataset, tmp_path / "source", workers=1)
    assert kept == [True] * 3
    assert store.path != expected.path and content(store.path) == content(expected.path)
    assert store.index.equals(expected.index)
    assert check(dataset, tmp_path / "source", workers=1, progress=lambda *_: None).table.equals(found)
    assert not [path for path in store.path.parent.iterdir() if path.name.startswith("tmp")]


def test_a_modality_is_resampled_as_scipy_does_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generator = np.random.default_rng(0)
    turn = np.array([[0.9, -0.2, 0.1, 1], [0.2, 1.4, -0.1, -2], [0, 0.1, 2.2, 0.5], [0, 0, 0, 1]])
    for name, affine, shape in (("scan", turn, (9, 8, 6)), ("grid", np.eye(4), (7, 10, 12))):
        nib.Nifti1Image(generator.normal(size=shape).astype(np.float32), affine).to_filename(tmp_path / f"{name}.nii")
    scan, grid = (nifti.read(tmp_path / f"{name}.nii") for name in ("scan", "grid"))
    to_scan = np.linalg.inv(scan.affine) @ grid.affine
    expected = affine_transform(
        scan.voxels, to_scan[:3, :3][::-1, ::-1], to_scan[:3, 3][::-1], grid.voxels.shape, order=1
    )
    small(monkeypatch, tmp_path / "home")
    for on_disk in (False, True):
        found = nifti.resample(scan, grid, on_disk=on_disk)
        assert pages.is_mapped(found.voxels) == on_disk
        assert np.abs(found.voxels - expected).max() < 1e-6 and expected.any()


def test_a_disk_too_small_for_what_is_read_is_told_before_work_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    phantom.write_tree(tmp_path / "source", patients=2, shape=SHAPE)
    small(monkeypatch, tmp_path / "other")
    store = 2 * 4 * 160 * 160 * 9
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=store + 10_000))
    with pytest.raises(DataError, match=r"GB needed, .* GB free; set PAM_HOME"):
        prepare(DATASETS.build("brats2018"), tmp_path / "source", workers=1)
    assert not list((tmp_path / "other").glob("prepared/brats2018/.partial*"))


def test_a_case_whose_planes_are_larger_than_a_workers_share_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    phantom.write_tree(tmp_path / "source", patients=2, shape=SHAPE)
    said: list[str] = []
    prepare(DATASETS.build("brats2018"), tmp_path / "source", announce=said.append)
    assert said == []
    monkeypatch.setattr(room, "WORKER", room.PROCESS)
    monkeypatch.setattr("pam.data.prepare.WORKER", room.PROCESS)
    monkeypatch.setenv("PAM_HOME", str(tmp_path / "other"))
    prepare(DATASETS.build("brats2018"), tmp_path / "source", announce=said.append)
    assert len(said) == 1
    assert "(4 × 20 × 24) takes a worker about 0.3 GB of memory, more than the usual 0.26" in said[0]


@pytest.mark.parametrize(("shape", "memory"), [((1000, 512, 512), 320), ((9, 20000, 20000), 20000)])
def test_memory_is_bounded_but_by_one_plane(shape: tuple[int, int, int], memory: int):
    voxels = math.prod(shape)
    sizes = [nifti.Size(shape=shape, stored=2 * voxels, values=8 * voxels, converted=True, packed=voxels)] * 2
    needed = room.of_volumes(sizes, 0)
    assert needed.disk == voxels * (2 * 2 + 2 * 8 + 1)
    assert needed.memory / 1e6 < memory
    assert needed.told == (shape[0] == 9)
