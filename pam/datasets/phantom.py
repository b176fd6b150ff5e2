"""Phantom patients: head-like volumes with a ring-enhancing tumour, written as a BRATS 2018 tree and read as one.

Made by this project, from noise and ellipsoids: a check that everything runs, never evidence about a method.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from pam.datasets.brats import BRATS_2018, Target, describe
from pam.datasets.dataset import DATASETS, Dataset
from pam.study import Recipe

PATIENTS = 20
SHAPE = (12, 64, 64)  # d h w
SIZE = (48, 48)  # centre crop

# Mean intensity of each tissue per modality, in BRATS_2018.files' order (t1, t2, t1ce, flair), in the
# arbitrary units of MRI; and the noise's standard deviation relative to them.
BRAIN, VENTRICLE, VESSEL, NECROSIS, OEDEMA, ENHANCING = np.array(
    [
        [500, 450, 520, 480],
        [250, 900, 260, 200],
        [520, 430, 900, 470],
        [320, 750, 340, 520],
        [430, 720, 450, 760],
        [450, 640, 880, 690],
    ]
)
NOISE = 60.0
TEXTURE = 60.0


@DATASETS.register
def phantom(*, target: Target = "et") -> Dataset:
    """Phantom patients in the BRATS 2018 layout, small enough to train on within seconds."""
    return describe(
        "phantom",
        "BRATS-like phantom",
        BRATS_2018,
        "no folder (the phantom makes its own), or one made by pam.datasets.phantom.write_tree",
        target=target,
        size=SIZE,
        recipe=Recipe(epochs=5, batch_size=8, learning_rate=1e-2),
        write_source=write_tree,
    )


def write_tree(folder: Path, *, patients: int = PATIENTS, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> None:
    """Write `HGG/Brats18_PHANTOM_001_1/Brats18_PHANTOM_001_1_{t1,t2,t1ce,flair,seg}.nii.gz` and so on.

    A patient depends on the seed and its number alone, so a larger tree holds a smaller one.
    """
    for number in range(1, patients + 1):
        case = f"Brats18_PHANTOM_{number:03d}_1"
        images, labels = make_patient(np.random.default_rng([seed, number]), shape)
        path = folder / "HGG" / case
        path.mkdir(parents=True)
        for ending, voxels in zip(BRATS_2018.files, images, strict=True):
            _write(path / f"{case}{ending}.nii.gz", voxels.astype(np.int16))
        _write(path / f"{case}{BRATS_2018.mask}.nii.gz", labels)


def make_patient(generator: np.random.Generator, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One patient: modalities (4 d h w, float, zero outside the head) and labels (d h w, uint8: 0, 1, 2, 4)."""
    grid = _grid(shape)
    head = _ellipsoid(grid, (0, 0, 0), (1.6, 0.70, 0.62))
    tissues = np.broadcast_to(BRAIN[:, None, None, None], (4, *shape)).astype(float)
    for side in (-1, 1):
        tissues = _mix(tissues, VENTRICLE, _ellipsoid(grid, (0, 0.05, 0.13 * side), (0.7, 0.22, 0.06)))
    for _ in range(
        generator.integers(2, 5)
    ):  # bright after contrast, but no tumour: what a careless network takes for one
        centre = generator.uniform((-1, -0.5, -0.45), (1, 0.5, 0.45))
        tissues = _mix(
            tissues, VESSEL, _ellipsoid(grid, centre, generator.uniform((0.2, 0.04, 0.04), (0.7, 0.10, 0.10)))
        )
    oedema, rim, core = _tumour(generator, grid)
    for tissue, fraction in ((OEDEMA, oedema), (ENHANCING, rim), (NECROSIS, core)):
        tissues = _mix(tissues, tissue, fraction)  # by fraction of the voxel: borders are partial volumes
    contrast = generator.uniform(0.85, 1.15, (4, 1, 1, 1))
    texture = gaussian_filter(generator.standard_normal((4, *shape)), (0, 1, 3, 3)) * TEXTURE * 8
    noise = generator.standard_normal((4, *shape)) * NOISE
    inside = head > 0.5
    labels = np.select([~inside, core > 0.5, rim > 0.5, oedema > 0.5], [0, 1, 4, 2], 0).astype(np.uint8)
    return np.where(inside, np.maximum(tissues * contrast + texture + noise, 1), 0), labels


def _tumour(generator: np.random.Generator, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fractions of each voxel (d h w) within the oedema, the enhancing rim and the core, each inside the one before."""
    centre = generator.uniform((-0.5, -0.35, -0.32), (0.5, 0.35, 0.32))
    radii = generator.uniform((0.25, 0.14, 0.14), (0.75, 0.30, 0.28))
    bumps = gaussian_filter(generator.standard_normal(grid.shape[1:]), (1, 4, 4))  # an outline that is no ellipse
    bumps *= 0.15 / bumps.std()
    core = generator.uniform(0.35, 0.75)
    return (
        _ellipsoid(grid, centre, radii * generator.uniform(1.3, 1.9), bumps),
        _ellipsoid(grid, centre, radii, bumps),
        _ellipsoid(grid, centre, radii * core, bumps),
    )


def _grid(shape: tuple[int, int, int]) -> np.ndarray:
    """Positions (3 d h w), −1 to 1 along each axis."""
    return np.stack(np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij"))


def _ellipsoid(
    grid: np.ndarray,
    centre: np.ndarray | tuple[float, ...],
    radii: np.ndarray | tuple[float, ...],
    bumps: np.ndarray | float = 0.0,
) -> np.ndarray:
    """The fraction of each voxel (d h w) within an ellipsoid, its surface spread over about two voxels."""
    offset = (grid - np.reshape(centre, (3, 1, 1, 1))) / np.reshape(radii, (3, 1, 1, 1))
    distance = (1 + bumps - np.sqrt((offset**2).sum(0))) * min(radii[1:]) * grid.shape[-1] / 2  # in voxels, about
    return np.asarray(expit(2 * distance))


def _mix(tissues: np.ndarray, tissue: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    return np.asarray(tissues * (1 - fraction) + tissue[:, None, None, None] * fraction)


def _write(path: Path, voxels: np.ndarray) -> None:
    """Write voxels (d h w, RAS+) with the axes of the real BRATS files: right to left, front to back, 1 mm."""
    import nibabel as nib  # noqa: PLC0415  # this package is imported where nibabel is absent

    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[1, 3] = voxels.shape[1] - 1
    image = nib.Nifti1Image(voxels.T[::-1, ::-1], affine)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))  # no time: equal phantoms, equal files
