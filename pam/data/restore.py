"""Predictions of a stored case, back in the space of its source."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from pam.data import nifti
from pam.data.store import Store
from pam.errors import DataError


def restore(store: Store, case: str, mask: np.ndarray) -> nib.Nifti1Image:
    """A case's mask (d h w, as the store holds it) as an image with its source's affine, shape and orientation.

    Voxels outside the store's crop are zero. Raises `DataError` for an unknown case, another shape, or a source
    that is no NIfTI and so has no geometry.
    """
    geometry = store.geometry(case)
    if geometry is None:
        raise DataError(f"case {case!r} of {store.title}: its source tells no geometry; use Store.uncrop")
    return nifti.restore(store.uncrop(case, mask), geometry)
