"""The training loop (`loop.py`), its precision, and `python -m pam.train`, which trains cells in one process."""

from pam.train.loop import Diverged, Epoch, fit, memory_format
from pam.train.precision import autocast

__all__ = ["Diverged", "Epoch", "autocast", "fit", "memory_format"]
