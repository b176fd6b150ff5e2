"""NIfTI volumes: read and checked, turned to RAS+, and masks written back into their source's space."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from scipy.ndimage import affine_transform

from pam.data import gzipped
from pam.data.geometry import Geometry
from pam.errors import DataError

# All that nibabel and gzip raise for damaged files.
UNREADABLE = (ImageFileError, HeaderDataError, EOFError, OSError, ValueError, OverflowError, MemoryError, zlib.error)
RAS = np.array([[0, 1], [1, 1], [2, 1]])


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A checked volume in RAS+: first slice inferior, first row posterior, first column left."""

    voxels: np.ndarray  # d h w, of the file's type or, where the header scales it, float
    spacing_mm: tuple[float, float, float]  # d h w
    affine: np.ndarray  # of the turned array in x y z order, in mm
    geometry: Geometry


def read(path: Path) -> Volume:
    """Read and check a volume. Raises `DataError` if it is missing, damaged, no NIfTI, not 3-D or not finite."""
    image = _open(path)
    _check_header(path, image.shape, image.affine)
    return _volume(image, _voxels(path, image))


def read_stack(path: Path, count: int) -> list[Volume]:
    """As `read`, of a file whose fourth axis holds this many volumes."""
    image = _open(path)
    if len(image.shape) != 4 or image.shape[3] != count:
        raise DataError(f"{path}: shape {image.shape}; expected four dimensions, {count} volumes along the last")
    _check_header(path, image.shape[:3], image.affine)
    voxels = _voxels(path, image)
    return [_volume(image, voxels[..., number]) for number in range(count)]


def resample(volume: Volume, grid: Volume) -> Volume:
    """The volume at another's voxels, by trilinear interpolation; zero beyond its field of view."""
    to_source = np.linalg.inv(volume.affine) @ grid.affine  # x y z indices of the grid → of the volume
    turn = to_source[:3, :3][::-1, ::-1]  # the same in z y x, the order of the voxels
    voxels = affine_transform(
        volume.voxels.astype(np.float32), turn, to_source[:3, 3][::-1], grid.voxels.shape, order=1
    )
    return replace(volume, voxels=voxels, spacing_mm=grid.spacing_mm, affine=grid.affine, geometry=grid.geometry)


def _voxels(path: Path, image: nib.Nifti1Image) -> np.ndarray:
    """The file's voxels in its own order, finite."""
    try:
        source = _gunzip(path, image) if path.suffix == ".gz" else np.asanyarray(image.dataobj)
    except UNREADABLE as error:
        raise DataError(
            f"{path}: voxels cannot be read ({_reason(error)}); is the file truncated? Copy it again"
        ) from error
    if source.dtype.kind not in "iuf":
        raise DataError(f"{path}: voxels of type {source.dtype}; expected integers or floats")
    if source.dtype.kind == "f" and not np.isfinite(source).all():
        count = int((~np.isfinite(source)).sum())
        raise DataError(f"{path}: {count} voxels are NaN or infinite; expected finite values")
    return source


def _gunzip(path: Path, image: nib.Nifti1Image) -> np.ndarray:
    """As `np.asanyarray(image.dataobj)`, in a fraction of the time."""
    proxy = image.dataobj
    assert isinstance(proxy, ArrayProxy), "the image was read from a file"
    size = proxy.offset + math.prod(proxy.shape) * proxy.dtype.itemsize
    stored = np.ndarray(proxy.shape, proxy.dtype, gzipped.read(path, size), proxy.offset, order="F")
    return np.asarray(apply_read_scaling(stored, proxy.slope, proxy.inter))


def _volume(image: nib.Nifti1Image, source: np.ndarray) -> Volume:
    orientation = io_orientation(image.affine)
    affine = image.affine @ inv_ornt_aff(orientation, source.shape)
    x, y, z = (float(size) for size in nib.affines.voxel_sizes(affine))
    header = image.header.copy()
    header.set_data_shape(source.shape)  # a stack's has four
    return Volume(
        voxels=apply_orientation(source, orientation).T.astype(source.dtype.newbyteorder("="), copy=False),
        spacing_mm=(z, y, x),
        affine=affine,
        geometry=Geometry(header=header.binaryblock, shape=source.shape),
    )


def read_shape(path: Path) -> tuple[int, int, int]:
    """The volume's shape (d h w), from its header alone. Raises `DataError` as `read` does."""
    image = _open(path)
    _check_header(path, image.shape, image.affine)
    axes = io_orientation(image.affine)[:, 0].astype(int)  # source axis → x, y or z
    x, y, z = (image.shape[int(np.flatnonzero(axes == axis)[0])] for axis in range(3))
    return z, y, x


def memory(path: Path) -> tuple[int, int]:
    """Bytes that the file's voxels take once they are read, and those that reading takes besides; from the header.

    Voxels that the header scales become float64. Raises `DataError` as `read` does.
    """
    image = _open(path)
    proxy = image.dataobj
    assert isinstance(proxy, ArrayProxy), "the image was read from a file"
    count = math.prod(image.shape)
    stored = count * proxy.dtype.itemsize
    packed = path.stat().st_size if path.suffix == ".gz" else 0
    if (proxy.slope, proxy.inter) == (1, 0):
        return stored, packed + (count if proxy.dtype.kind == "f" else 0)  # a flag each: is it finite?
    scaled = count * np.dtype(np.float64).itemsize
    return scaled, packed + stored + (scaled if proxy.slope != 1 and proxy.inter != 0 else 0)


def restore(volume: np.ndarray, geometry: Geometry) -> nib.Nifti1Image:
    """A volume (d h w) as an image with exactly the source's affine, shape and orientation, float32 or uint8.

    Raises `DataError` if the volume's shape is not the source's.
    """
    dtype = np.float32 if volume.dtype.kind == "f" else np.uint8
    kind = nib.Nifti1Image if len(geometry.header) == nib.Nifti1Header.sizeof_hdr else nib.Nifti2Image
    header = kind.header_class(geometry.header)
    orientation = io_orientation(header.get_best_affine())
    turned = apply_orientation(volume.astype(dtype).T, ornt_transform(RAS, orientation))
    if turned.shape != geometry.shape:
        raise DataError(f"a volume of shape {volume.shape} does not fit a source of shape {geometry.shape} (x y z)")
    header.set_data_dtype(dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0  # the scan's display window, not the mask's
    return kind(turned, header.get_best_affine(), header)  # type: ignore[no-untyped-call]


def _open(path: Path) -> nib.Nifti1Image:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty (zero bytes); copy it again")
    try:
        image = nib.load(path)
    except UNREADABLE as error:
        raise DataError(
            f"{path}: cannot be read as NIfTI ({_reason(error)}); expected an intact .nii or .nii.gz"
        ) from error
    if not isinstance(image, nib.Nifti1Image):
        raise DataError(f"{path}: the file is {type(image).__name__}; expected NIfTI (.nii or .nii.gz)")
    return image


def _check_header(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> None:
    if len(shape) != 3 or 0 in shape:
        raise DataError(f"{path}: shape {shape}; expected a volume of three dimensions")
    linear = affine[:3, :3]
    if not np.isfinite(affine).all() or abs(np.linalg.det(linear)) < 1e-9 or np.isnan(io_orientation(affine)).any():
        raise DataError(f"{path}: the header's affine {linear.tolist()} has no volume; expected spacing and axes in mm")


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
