"""Whatever a NIfTI file holds, reading it gives a volume or one clean error."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pam.data import nifti
from pam.errors import DataError

VOXELS = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
HEADER = nib.Nifti1Header.sizeof_hdr
FIELDS = list(nib.Nifti1Header.template_dtype.names)
SETTINGS = settings(
    deadline=None, max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def sound() -> bytes:
    return nib.Nifti1Image(VOXELS, np.diag([1.0, 2, 3, 1])).to_bytes()


def refused(path: Path) -> str:
    """The error's text; empty where the file is read."""
    try:
        nifti.read(path)
    except DataError as error:
        return str(error)
    return ""


def read_or_refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    if reason := refused(path):
        assert str(path) in reason and "\n" not in reason
        return
    volume = nifti.read(path)
    assert volume.voxels.ndim == 3 and volume.voxels.size > 0
    assert np.isfinite(volume.voxels).all() and np.isfinite(volume.affine).all()
    assert all(size > 0 for size in volume.spacing_mm)
    assert nifti.read_shape(path) == volume.voxels.shape
    restored = nifti.restore(volume.voxels > 1, volume.geometry)
    assert restored.shape == volume.geometry.shape


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, HEADER - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes_of_a_header_give_a_volume_or_an_error(tmp_path: Path, changes: list[tuple[int, int]]):
    content = bytearray(sound())
    for position, value in changes:
        content[position] = value
    read_or_refuse(tmp_path / "a.nii", bytes(content))


@SETTINGS
@given(st.sampled_from(FIELDS), st.binary(min_size=64, max_size=64))
def test_a_field_of_any_content_gives_a_volume_or_an_error(tmp_path: Path, field: str, content: bytes):
    header = np.frombuffer(bytearray(sound()[:HEADER]), nib.Nifti1Header.template_dtype.newbyteorder("<")).copy()
    size = header[field].nbytes
    header[field] = np.frombuffer((content * 3)[:size], header[field].dtype).reshape(header[field].shape)
    read_or_refuse(tmp_path / "a.nii", header.tobytes() + sound()[HEADER:])


@SETTINGS
@given(st.integers(0, 500))
def test_a_file_cut_anywhere_gives_a_volume_or_an_error(tmp_path: Path, length: int):
    read_or_refuse(tmp_path / "a.nii", sound()[:length])
    read_or_refuse(tmp_path / "a.nii.gz", gzip.compress(sound())[:length])


@SETTINGS
@given(st.binary(max_size=400))
def test_any_bytes_give_a_volume_or_an_error(tmp_path: Path, content: bytes):
    read_or_refuse(tmp_path / "a.nii", content)
    read_or_refuse(tmp_path / "a.nii.gz", content)


@SETTINGS
@given(
    st.sampled_from(["dim", "datatype", "bitpix", "scl_slope", "scl_inter", "vox_offset"]),
    st.binary(min_size=16, max_size=16),
)
def test_a_compressed_file_reads_as_the_same_file_uncompressed(tmp_path: Path, field: str, content: bytes):
    """One is read by nibabel, the other decompressed at once."""
    header = np.frombuffer(bytearray(sound()[:HEADER]), nib.Nifti1Header.template_dtype.newbyteorder("<")).copy()
    header[field] = np.frombuffer(content[: header[field].nbytes], header[field].dtype).reshape(header[field].shape)
    whole = header.tobytes() + sound()[HEADER:]
    plain, packed = tmp_path / "a.nii", tmp_path / "a.nii.gz"
    plain.write_bytes(whole)
    packed.write_bytes(gzip.compress(whole[:200]) + gzip.compress(whole[200:]) + b"\0" * 9)  # of two members, padded
    assert bool(refused(plain)) == bool(refused(packed))
    if not refused(plain):
        one, other = nifti.read(plain), nifti.read(packed)
        assert one.voxels.dtype == other.voxels.dtype and np.array_equal(one.voxels, other.voxels)
