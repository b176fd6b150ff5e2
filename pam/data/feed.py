"""Where a batch's slices come from: held on the device whole, or read ahead through the memory map.

Both give the same slices for the same rows, so that no result depends on which one fits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from pam.data.pages import release

FREE_SHARE = 0.25  # of a GPU's free memory that slices may take: networks, and cells beside this one, need the rest
# Batches read before a GPU asks for them. The CPU reads them itself: 64 slices of 4×160×160 take it 4 ms to read from
# the page cache and 6 through a thread, of seconds that it takes to train on them.
AHEAD = 2
PIECE = 256  # slices copied to the device at once

Pair = tuple[Tensor, Tensor]  # images b c h w float16, masks b h w uint8


class Held:
    """All slices on the device, copied there once and piece by piece."""

    def __init__(self, images: np.ndarray, masks: np.ndarray, rows: np.ndarray, device: torch.device) -> None:
        self._images = torch.empty((len(rows), *images.shape[1:]), dtype=torch.float16, device=device)
        self._masks = torch.empty((len(rows), *masks.shape[1:]), dtype=torch.uint8, device=device)
        for start in range(0, len(rows), PIECE):
            piece = rows[start : start + PIECE]
            self._images[start : start + PIECE] = torch.from_numpy(images[piece])
            self._masks[start : start + PIECE] = torch.from_numpy(masks[piece])
            release(images)

    def batches(self, chosen: Iterable[Tensor]) -> Iterator[Pair]:
        """The slices at these places of `rows`, batch by batch."""
        for places in chosen:
            there = places.to(self._images.device)
            yield self._images[there], self._masks[there]


class Streamed:
    """Slices read through the memory map, `ahead` batches by a thread while the device is busy.

    They are read into pinned memory where the device is a GPU.
    """

    def __init__(
        self, images: np.ndarray, masks: np.ndarray, rows: np.ndarray, device: torch.device, *, ahead: int | None = None
    ) -> None:
        self._arrays = (images, masks)
        self._rows = rows
        self._device = device
        self._ahead = (AHEAD if device.type == "cuda" else 0) if ahead is None else ahead

    def batches(self, chosen: Iterable[Tensor]) -> Iterator[Pair]:
        """The slices at these places of `rows`, batch by batch."""
        rows = (self._rows[places.numpy()] for places in chosen)
        if self._ahead:
            yield from self._read_ahead(rows)
        else:
            yield from (self._there(self._read(batch)) for batch in rows)

    def _read_ahead(self, rows: Iterable[np.ndarray]) -> Iterator[Pair]:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="slices") as reader:
            waiting: deque[Future[Pair]] = deque()
            for batch in rows:
                waiting.append(reader.submit(self._read, batch))
                if len(waiting) > self._ahead:
                    yield self._there(waiting.popleft().result())
            while waiting:
                yield self._there(waiting.popleft().result())

    def _read(self, rows: np.ndarray) -> Pair:
        images, masks = (self._taken(array, rows) for array in self._arrays)
        return images, masks

    def _taken(self, array: np.ndarray, rows: np.ndarray) -> Tensor:
        shape = (len(rows), *array.shape[1:])
        dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        taken = torch.empty(shape, dtype=dtype, pin_memory=self._device.type == "cuda")
        np.take(array, rows, axis=0, out=taken.numpy(), mode="clip")  # the default mode copies once more
        release(array)
        return taken

    def _there(self, pair: Pair) -> Pair:
        images, masks = (part.to(self._device, non_blocking=True) for part in pair)
        return images, masks


def feed(
    images: np.ndarray, masks: np.ndarray, rows: np.ndarray, device: torch.device, room: int | None
) -> Held | Streamed:
    """The slices of these rows: held if they fit into `room` bytes of the device, else streamed.

    room: None for a quarter of a GPU's free memory, and for none on the CPU: there, cells of one node share the page
    cache.
    """
    if room is None:
        room = int(FREE_SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0
    needed = len(rows) * (images[:1].nbytes + masks[:1].nbytes)
    return (Held if needed <= room else Streamed)(images, masks, rows, device)
