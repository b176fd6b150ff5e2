"""NIfTI volumes: read and checked, turned to RAS+, and masks written back into their source's space."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from scipy.ndimage import map_coordinates

from pam.data import gzipped
from pam.data.geometry import Geometry
from pam.data.pages import release
from pam.data.pieces import chunks, flat, keep, planes, rows_at_once
from pam.errors import DataError, PamError

# All that nibabel and gzip raise for damaged files.
UNREADABLE = (ImageFileError, HeaderDataError, EOFError, OSError, ValueError, OverflowError, MemoryError, zlib.error)
RAS = np.array([[0, 1], [1, 1], [2, 1]])
VALUES = 2**20  # that are looked at, and scaled, at once
DEFLATE = 1032  # no byte of a gzip file holds more of its content


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A checked volume in RAS+: first slice inferior, first row posterior, first column left."""

    voxels: np.ndarray  # d h w, of the file's type or, where the header scales it, float
    spacing_mm: tuple[float, float, float]  # d h w
    affine: np.ndarray  # of the turned array in x y z order, in mm
    geometry: Geometry


@dataclass(frozen=True, kw_only=True)
class Size:
    """What it takes to read a file, from its header: bytes."""

    shape: tuple[int, int, int]  # d h w
    stored: int  # voxels as the file stores them
    values: int  # voxels as they are read: float64 where the header scales them
    converted: bool  # whether they differ, in value or byte order
    packed: int  # a .gz file; 0: not compressed

    @property
    def besides(self) -> int:
        """What reading takes besides the values."""
        return self.packed + (self.stored if self.converted else 0)


def read(path: Path, *, on_disk: bool = False) -> Volume:
    """Read and check a volume. Raises `DataError` if it is missing, damaged, no NIfTI, not 3-D or not finite.

    on_disk: of a file too large for memory; its voxels then lie in a file, as `pam.data.pieces` tells.
    """
    image = _open(path)
    _check_header(path, image.shape, image.affine)
    return _volume(image, _voxels(path, image, on_disk))


def read_stack(path: Path, count: int, *, on_disk: bool = False) -> list[Volume]:
    """As `read`, of a file whose fourth axis holds this many volumes."""
    image = _open(path)
    if len(image.shape) != 4 or image.shape[3] != count:
        raise DataError(f"{path}: shape {image.shape}; expected four dimensions, {count} volumes along the last")
    _check_header(path, image.shape[:3], image.affine)
    voxels = _voxels(path, image, on_disk)
    return [_volume(image, voxels[..., number]) for number in range(count)]


def resample(volume: Volume, grid: Volume, *, on_disk: bool = False) -> Volume:
    """The volume at another's voxels, by trilinear interpolation; zero beyond its field of view."""
    to_source = np.linalg.inv(volume.affine) @ grid.affine  # x y z indices of the grid → of the volume
    turn = to_source[:3, :3][::-1, ::-1]  # the same in z y x, the order of the voxels
    offset = to_source[:3, 3][::-1]
    slabs = (planes(volume.voxels, rows) for rows in rows_at_once(volume.voxels))
    source = keep(slabs, volume.voxels.shape, np.float32, on_disk=on_disk)
    depth, *size = grid.voxels.shape
    rows, columns = np.indices(size)

    def interpolated() -> Iterator[np.ndarray]:
        for number in range(depth):
            at = [number * z + rows * y + columns * x + first for (z, y, x), first in zip(turn, offset, strict=True)]
            yield map_coordinates(source, at, order=1)
            release(source)

    voxels = keep(interpolated(), grid.voxels.shape, np.float32, on_disk=on_disk)
    return replace(volume, voxels=voxels, spacing_mm=grid.spacing_mm, affine=grid.affine, geometry=grid.geometry)


def _voxels(path: Path, image: nib.Nifti1Image, on_disk: bool) -> np.ndarray:
    """The file's voxels in its own order, finite."""
    proxy = image.dataobj
    assert isinstance(proxy, ArrayProxy), "the image was read from a file"
    with _readable(path):
        stored = _gunzip(path, proxy, on_disk) if path.suffix == ".gz" else proxy.get_unscaled()
        if stored.dtype.kind not in "iuf":
            raise DataError(f"{path}: voxels of type {stored.dtype}; expected integers or floats")
        voxels = _scaled(stored, proxy, on_disk)
    if voxels.dtype.kind == "f":
        count = sum(chunk.size - np.count_nonzero(np.isfinite(chunk)) for chunk in chunks(flat(voxels), VALUES))
        if count:
            raise DataError(f"{path}: {count} voxels are NaN or infinite; expected finite values")
    return voxels


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise `DataError` for what reading a damaged file raises."""
    try:
        yield
    except PamError:
        raise
    except UNREADABLE as error:
        raise _truncated(path, _reason(error)) from error


def _truncated(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: voxels cannot be read ({reason}); is the file truncated? Copy it again")


def _gunzip(path: Path, proxy: ArrayProxy, on_disk: bool) -> np.ndarray:
    """As `proxy.get_unscaled()`, in a fraction of the time."""
    size = proxy.offset + math.prod(proxy.shape) * proxy.dtype.itemsize
    some = (np.frombuffer(piece, np.uint8) for piece in gzipped.pieces(path, size))
    content = (
        keep(some, (size,), np.uint8, on_disk=True) if on_disk else np.frombuffer(gzipped.read(path, size), np.uint8)
    )
    return np.ndarray(proxy.shape, proxy.dtype, content, proxy.offset, order="F")


def _scaled(stored: np.ndarray, proxy: ArrayProxy, on_disk: bool) -> np.ndarray:
    """The values that the header makes of the stored ones, in this machine's byte order."""
    dtype = _type_of_values(proxy)
    if not _is_converted(proxy):
        return stored
    made = (apply_read_scaling(chunk, proxy.slope, proxy.inter) for chunk in chunks(flat(stored), VALUES))
    return keep(made, stored.shape, dtype, order="F", on_disk=on_disk)


def _type_of_values(proxy: ArrayProxy) -> np.dtype:
    stored: np.dtype = proxy.dtype
    if stored.kind not in "iuf":
        return stored
    one: np.ndarray = apply_read_scaling(np.zeros(1, stored), proxy.slope, proxy.inter)
    return one.dtype.newbyteorder("=")


def _is_converted(proxy: ArrayProxy) -> bool:
    return (proxy.slope, proxy.inter) != (1, 0) or _type_of_values(proxy) != proxy.dtype


def _volume(image: nib.Nifti1Image, source: np.ndarray) -> Volume:
    orientation = io_orientation(image.affine)
    affine = image.affine @ inv_ornt_aff(orientation, source.shape)
    x, y, z = (float(size) for size in nib.affines.voxel_sizes(affine))
    header = image.header.copy()
    header.set_data_shape(source.shape)  # a stack's has four
    return Volume(
        voxels=apply_orientation(source, orientation).T,
        spacing_mm=(z, y, x),
        affine=affine,
        geometry=Geometry(header=header.binaryblock, shape=source.shape),
    )


def read_shape(path: Path) -> tuple[int, int, int]:
    """The volume's shape (d h w), from its header alone. Raises `DataError` as `read` does."""
    image = _open(path)
    _check_header(path, image.shape, image.affine)
    return _shape(image)


def _shape(image: nib.Nifti1Image) -> tuple[int, int, int]:
    axes = io_orientation(image.affine)[:, 0].astype(int)  # source axis → x, y or z
    x, y, z = (image.shape[int(np.flatnonzero(axes == axis)[0])] for axis in range(3))
    return z, y, x


def size(path: Path) -> Size:
    """What it takes to read the file. Raises `DataError` as `read` does for what its header tells."""
    image = _open(path)
    _check_header(path, image.shape[:3], image.affine)
    proxy = image.dataobj
    assert isinstance(proxy, ArrayProxy), "the image was read from a file"
    count, dtype = math.prod(image.shape), _type_of_values(proxy)
    stored, on_disk = count * proxy.dtype.itemsize, path.stat().st_size
    most = on_disk * DEFLATE if path.suffix == ".gz" else on_disk
    if proxy.offset + stored > most and path.suffix in {".gz", ".nii"}:
        raise _truncated(path, f"{on_disk} bytes cannot hold {proxy.offset + stored}")
    return Size(
        shape=_shape(image),
        stored=stored,
        values=count * dtype.itemsize,
        converted=_is_converted(proxy),
        packed=on_disk if path.suffix == ".gz" else 0,
    )


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
        image = nib.load(path, mmap="r")
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
