import gzip
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pam.data import nifti
from pam.errors import DataError

VOXELS = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)  # x y z, right-anterior-superior
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
ORIENTATIONS = [
    "".join(codes) for axes in itertools.permutations(("LR", "PA", "IS")) for codes in itertools.product(*axes)
]


def oriented(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    return image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
    )


def save(path: Path, voxels: np.ndarray = VOXELS, affine: np.ndarray = AFFINE) -> Path:
    nib.Nifti1Image(voxels, affine).to_filename(path)
    return path


def raw(header: nib.Nifti1Header) -> bytes:
    """A file with this header as it is, which nibabel would mend on writing, and VOXELS behind it."""
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header.binaryblock + b"\0" * 4 + VOXELS.tobytes(order="F")


def flat(path: Path) -> None:
    header = nib.Nifti1Image(VOXELS, AFFINE).header
    header["srow_z"] = 0
    path.write_bytes(gzip.compress(raw(header)))


def test_axes_are_slice_row_column_with_spacing_in_the_same_order(tmp_path: Path):
    volume = nifti.read(save(tmp_path / "a.nii.gz"))
    assert volume.voxels.shape == (4, 3, 2)
    assert volume.spacing_mm == (3.0, 2.0, 1.0)
    assert volume.voxels[3, 1, 0] == VOXELS[0, 1, 3]


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_reads_as_the_same_volume(tmp_path: Path, codes: str):
    original = nib.Nifti1Image(VOXELS, AFFINE)
    oriented(original, codes).to_filename(tmp_path / "turned.nii.gz")
    expected, volume = nifti.read(save(tmp_path / "a.nii.gz")), nifti.read(tmp_path / "turned.nii.gz")
    assert np.array_equal(volume.voxels, expected.voxels)
    assert volume.spacing_mm == expected.spacing_mm
    assert np.allclose(volume.affine, expected.affine)
    assert nifti.read_shape(tmp_path / "turned.nii.gz") == volume.voxels.shape


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_mask_goes_back_to_exactly_its_sources_voxels_affine_and_shape(tmp_path: Path, codes: str):
    source = oriented(nib.Nifti1Image((VOXELS % 3 == 0).astype(np.uint8), AFFINE), codes)
    source.to_filename(tmp_path / "source.nii.gz")
    volume = nifti.read(tmp_path / "source.nii.gz")
    nifti.restore(volume.voxels, volume.geometry).to_filename(tmp_path / "restored.nii.gz")
    restored, source = nib.load(tmp_path / "restored.nii.gz"), nib.load(tmp_path / "source.nii.gz")
    assert np.array_equal(restored.affine, source.affine)
    assert np.array_equal(np.asarray(restored.dataobj), np.asarray(source.dataobj))
    assert restored.get_data_dtype() == np.uint8


def test_an_oblique_affine_with_a_qform_alone_is_restored_to_the_bit(tmp_path: Path):
    angle = 0.2
    affine = np.diag([0.9, 0.9, 5.0, 1.0])
    affine[:2, :2] = 0.9 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine[:3, 3] = (-91.3, -120.7, 12.9)
    image = nib.Nifti1Image(VOXELS, affine)
    image.header.set_qform(affine, code=1)
    image.header.set_sform(None, code=0)
    nib.Nifti1Image(VOXELS, None, image.header).to_filename(tmp_path / "a.nii")
    volume = nifti.read(tmp_path / "a.nii")
    assert np.array_equal(nifti.restore(volume.voxels, volume.geometry).affine, nib.load(tmp_path / "a.nii").affine)


def test_scaling_of_the_header_is_applied_and_not_passed_on_to_masks(tmp_path: Path):
    image = nib.Nifti1Image(VOXELS, AFFINE)
    image.header.set_slope_inter(0.5, 10)
    (tmp_path / "a.nii").write_bytes(raw(image.header))
    volume = nifti.read(tmp_path / "a.nii")
    assert np.allclose(volume.voxels, VOXELS.T * 0.5 + 10)
    restored = nifti.restore(np.ones((4, 3, 2), bool), volume.geometry)
    restored.to_filename(tmp_path / "mask.nii")
    assert np.unique(nib.load(tmp_path / "mask.nii").get_fdata()).tolist() == [1]


@pytest.mark.parametrize("dtype", [">i2", "<i2", ">f4", "u1", "u2", "i4", "f8", ">f8"])
def test_every_type_and_byte_order_reads_as_the_same_values(tmp_path: Path, dtype: str):
    header = nib.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(np.dtype(dtype))
    nib.Nifti1Image(VOXELS.astype(dtype), AFFINE, header).to_filename(tmp_path / "a.nii.gz")
    volume = nifti.read(tmp_path / "a.nii.gz")
    assert np.array_equal(volume.voxels, VOXELS.T)
    assert volume.voxels.dtype.isnative
    restored = nifti.restore(volume.voxels > 3, volume.geometry)
    assert np.array_equal(np.asarray(restored.dataobj), VOXELS > 3)


def test_nifti_2_is_read_and_restored_as_such(tmp_path: Path):
    nib.Nifti2Image(VOXELS, AFFINE).to_filename(tmp_path / "a.nii.gz")
    volume = nifti.read(tmp_path / "a.nii.gz")
    assert isinstance(nifti.restore(volume.voxels > 3, volume.geometry), nib.Nifti2Image)


def test_paths_with_spaces_letters_and_links_are_read(tmp_path: Path):
    folder = tmp_path / "Ünï cödé"
    folder.mkdir()
    save(folder / "ä b.nii.gz")
    (tmp_path / "link.nii.gz").symlink_to(folder / "ä b.nii.gz")
    assert np.array_equal(nifti.read(tmp_path / "link.nii.gz").voxels, VOXELS.T)


def test_a_mask_of_another_shape_is_not_restored(tmp_path: Path):
    volume = nifti.read(save(tmp_path / "a.nii.gz"))
    with pytest.raises(DataError, match="does not fit"):
        nifti.restore(np.ones((4, 3, 3)), volume.geometry)


def truncated(path: Path) -> None:
    save(path, np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16))
    path.write_bytes(path.read_bytes()[:-2000])


def flipped(path: Path) -> None:
    content = bytearray(
        save(path, np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16)).read_bytes()
    )
    content[3000:3100] = b"\xff" * 100
    path.write_bytes(content)


def uncompressed_and_short(path: Path) -> None:
    path.write_bytes(gzip.decompress(save(path).read_bytes())[:-3])


BAD = {
    "missing": (lambda _: None, "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "zero bytes"),
    "truncated": (truncated, "truncated"),
    "damaged": (flipped, "cannot be read"),
    "no gzip behind its name": (uncompressed_and_short, "cannot be read"),
    "text": (lambda path: path.write_bytes(gzip.compress(b"not a scan" * 99)), "cannot be read as NIfTI"),
    "a header alone": (
        lambda path: path.write_bytes(gzip.compress(nib.Nifti1Header().binaryblock)),
        "expected a volume",
    ),
    "4-D": (lambda path: save(path, np.zeros((2, 2, 2, 2), np.int16)), "three dimensions"),
    "2-D": (lambda path: save(path, np.zeros((2, 2), np.int16)), "three dimensions"),
    "NaN": (lambda path: save(path, np.full((2, 2, 2), np.nan, np.float32)), "8 voxels are NaN or infinite"),
    "infinite": (lambda path: save(path, np.full((2, 2, 2), np.inf, np.float32)), "8 voxels are NaN or infinite"),
    "complex": (lambda path: save(path, np.ones((2, 2, 2), np.complex64)), "complex64; expected integers or floats"),
    "flat affine": (flat, "has no volume"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, kind: str):
    make, expected = BAD[kind]
    path = tmp_path / "scan.nii.gz"
    make(path)
    with pytest.raises(DataError, match=expected) as error:
        nifti.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
