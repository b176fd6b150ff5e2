"""Data sets by name, one file per family; importing this package registers them all."""

from pam.datasets import brats, isles, lgg, msd, phantom
from pam.datasets.dataset import DATASETS, Case, Dataset

__all__ = ["DATASETS", "Case", "Dataset", "brats", "isles", "lgg", "msd", "phantom"]
