"""What a case will take of memory is told by its headers, and fewer workers are started where it is much."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pam.data import nifti, room, scans
from pam.data.prepare import prepare
from pam.datasets import DATASETS, phantom

SHAPE = (4, 20, 24)  # d h w


def saved(path: Path, dtype: type, slope: float = 1.0, inter: float = 0.0) -> Path:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), dtype), np.eye(4))
    image.header.set_slope_inter(slope, inter)
    image.to_filename(path)
    return path


@pytest.mark.parametrize(
    ("name", "dtype", "scaling", "held", "besides"),
    [
        ("a.nii", np.int16, (1.0, 0.0), 120, 0),
        ("b.nii", np.float32, (1.0, 0.0), 240, 60),  # is each finite?
        ("c.nii", np.int16, (1.0, -1024.0), 480, 120),  # becomes float64
        ("d.nii", np.int16, (2.0, -1024.0), 480, 120 + 480),  # in two steps
    ],
)
def test_memory_is_told_by_the_header(tmp_path: Path, name, dtype, scaling, held: int, besides: int):
    path = saved(tmp_path / name, dtype, *scaling)
    assert nifti.memory(path) == (held, besides)
    assert nifti.read(path).voxels.nbytes == held
    packed = saved(tmp_path / f"{name}.gz", dtype, *scaling)
    assert nifti.memory(packed) == (held, besides + packed.stat().st_size)


def test_workers_are_as_many_as_there_is_room_for_and_never_none():
    assert room.workers_for(10**8, 8, 10**9) == 8  # of the usual size: as many as were asked for
    assert room.workers_for(2 * 10**9, 8, 7 * 10**9) == 3
    assert room.workers_for(2 * 10**9, 8, 10**9) == 1
    assert room.workers_for(2 * 10**9, 8, None) == 8


def test_a_case_that_takes_more_than_is_usual_is_told_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    phantom.write_tree(tmp_path / "source", patients=2, shape=SHAPE)
    dataset = DATASETS.build("brats2018")
    case = dataset.find_cases(tmp_path / "source")[0]
    voxels = 4 * 20 * 24
    assert scans.memory(dataset, case) > voxels * 5  # five files and the target
    said: list[str] = []
    prepare(dataset, tmp_path / "source", announce=said.append)
    assert said == []
    monkeypatch.setattr(room, "USUAL", room.PROCESS)
    monkeypatch.setenv("PAM_HOME", str(tmp_path / "other"))
    prepare(dataset, tmp_path / "source", workers=2, announce=said.append)
    assert len(said) == 1
    assert "(4 × 20 × 24) takes a worker about 0.3 GB of memory, more than the usual" in said[0]
