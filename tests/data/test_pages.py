import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pam.data.feed import Streamed
from pam.data.pages import release


def resident(path: Path) -> int:
    """Bytes of a file that count as this process's memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    return sum(
        int(next(line for line in lines if line.startswith("Rss:")).split()[1]) * 1024
        for header in lines
        if header.endswith(str(path))
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells the memory of a mapping on Linux alone")
def test_a_pass_over_a_mapped_store_leaves_nothing_of_it_resident(tmp_path: Path):
    path = tmp_path / "images.npy"
    np.save(path, np.arange(64 * 2**16, dtype=np.float16).reshape(64, 1, 256, 256))
    images, masks = np.load(path, mmap_mode="r"), np.zeros((64, 256, 256), np.uint8)
    assert images.sum(dtype=np.float64) is not None and resident(path) > images.nbytes * 0.9
    release(images)
    assert resident(path) == 0
    feed = Streamed(images, masks, np.arange(64), torch.device("cpu"))
    for (batch, _), first in zip(feed.batches(torch.arange(64).split(8)), range(0, 64, 8), strict=True):
        assert np.array_equal(batch.numpy(), images[first : first + 8])
        release(images)
    assert resident(path) == 0


def test_arrays_of_other_kinds_stay_as_they_are(tmp_path: Path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(4))
    for array in (np.arange(4), np.load(path, mmap_mode="c"), np.load(path, mmap_mode="r+")):
        array[0] = 7
        release(array)
        assert array.tolist() == [7, 1, 2, 3]
