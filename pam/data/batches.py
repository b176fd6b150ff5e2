"""Batches of training slices, in an order that an explicit generator draws."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pam.counts import counted
from pam.data.augment import build
from pam.data.columns import Columns
from pam.data.feed import feed
from pam.errors import DataError, StudyError
from pam.study import CHOICES, Augmentation

# The authors' code: a slice counts as positive from its second pixel, as brain from its 1,001st.
POSITIVE_PIXELS = 1
BRAIN_PIXELS = 1000


def choose_slices(columns: Columns, patients: Sequence[str], how: str, generator: torch.Generator) -> np.ndarray:
    """Rows of the store to train on, or to score, ascending, chosen by its columns.

    "paper": every slice with more than one target pixel, and a random half of the other slices with more than
    1,000 non-zero pixels, as in the authors' code. "all": every slice of these patients.
    """
    rows = np.isin(np.asarray(columns["patient"], dtype=str), patients)
    if how == "paper":
        positive = rows & np.asarray(columns["target_pixels"] > POSITIVE_PIXELS)
        other = np.flatnonzero(rows & ~positive & np.asarray(columns["brain_pixels"] > BRAIN_PIXELS))
        half = torch.randperm(len(other), generator=generator)[: len(other) // 2].numpy()
        rows = positive
        rows[other[half]] = True
    elif how != "all":
        raise StudyError(f"a choice of slices is {how!r}; expected one of: {', '.join(CHOICES['slices'])}")
    chosen = np.flatnonzero(rows)
    if len(chosen) == 0:
        raise DataError(
            f"no slice to choose ({how!r}) in {counted(len(patients), 'patient')}, beginning with "
            f"{next(iter(patients), 'none')!r}; set the recipe's slices or test_slices to 'all'"
        )
    return chosen


class Batches:
    """One pass over the chosen slices each time it is iterated; each pass draws a new order from the generator.

    Yields (images b c h w float32, target b 1 h w float32) on `device`; the same ones wherever `pam.data.feed` takes
    them from, which `room` decides.
    """

    def __init__(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        rows: np.ndarray,
        *,
        batch_size: int,
        augment: Sequence[Augmentation],
        generator: torch.Generator,
        device: torch.device,
        room: int | None = None,
    ) -> None:
        self.generator = generator
        self.device = device
        self._batch_size = batch_size
        self._most: int | None = None  # batches in a pass
        self._augment = build(augment)
        self._count = len(rows)
        self._slices = feed(images, masks, rows, device, room)

    def first(self, batches: int) -> Batches:
        """The same, but each pass ends after so many batches."""
        shorter = copy.copy(self)
        shorter._most = batches
        return shorter

    def __len__(self) -> int:
        whole = -(-self._count // self._batch_size)
        return whole if self._most is None else min(whole, self._most)

    @property
    def slices(self) -> int:
        """Slices seen in one pass."""
        return self._count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(self._count, generator=self.generator)
        for images, masks in self._slices.batches(order.split(self._batch_size)[: self._most]):
            for augment in self._augment:
                images, masks = augment(images, masks, self.generator)  # noqa: PLW2901
            yield images.float(), masks.unsqueeze(1).float()
