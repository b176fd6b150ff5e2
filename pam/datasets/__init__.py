"""Data sets by name, one file per family; importing this package registers them all."""

from pam.datasets import brats, cityscapes, isles, lgg, msd, nnunet, other_phantoms, phantom
from pam.datasets.dataset import DATASETS, Case, Dataset

__all__ = [
    "DATASETS",
    "Case",
    "Dataset",
    "brats",
    "cityscapes",
    "isles",
    "lgg",
    "msd",
    "nnunet",
    "other_phantoms",
    "phantom",
]
