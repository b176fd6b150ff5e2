"""Scans smaller than what a network takes, or not divisible by eight: padded, trained on, scored, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pam import cells, ledger, networks
from pam.data.prepare import prepare
from pam.data.restore import restore
from pam.data.store import Store
from pam.data.view import unpacked
from pam.datasets import DATASETS, phantom
from pam.evaluate import evaluate
from pam.metrics import score
from pam.study import Study, Variant
from pam.sweep.plan import plan

CPU = torch.device("cpu")
ALL = np.arange(100)  # rows of slices, more than there are
SHAPES = {1: (4, 7, 27), 2: (3, 20, 5), 3: (2, 13, 25), 4: (5, 6, 6)}  # d h w, by patient


class Everywhere(nn.Module):
    """Finds foreground in every pixel."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.ones_like(images[:, :1])


class Stripes(nn.Module):
    """Finds foreground in every other column, of scan and padding alike."""

    def forward(self, images: Tensor) -> Tensor:
        logits = -torch.ones_like(images[:, :1])
        logits[..., ::2] = 1
        return logits


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases of four shapes in the layout of BRATS 2018."""
    folder = tmp_path_factory.mktemp("small")
    for patient, shape in SHAPES.items():
        phantom.write_tree(folder / str(patient), patients=patient, seed=0, shape=shape)
        case = f"HGG/Brats18_PHANTOM_{patient:03d}_1"
        (folder / "all" / case).parent.mkdir(parents=True, exist_ok=True)
        (folder / str(patient) / case).rename(folder / "all" / case)
    for path in sorted(folder.rglob("*_t1.nii.gz")):  # phantoms as small as these have no tumour
        t1 = nib.load(path)
        labels = 4 * (t1.get_fdata() > t1.get_fdata().mean()).astype(np.uint8)
        nib.Nifti1Image(labels, t1.affine).to_filename(str(path).replace("_t1.", "_seg."))
    return folder / "all"


@pytest.fixture(scope="module")
def store(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAM_HOME", str(tmp_path_factory.mktemp("store")))
        yield prepare(replace(DATASETS.build("brats2018"), size=None), source)


def shape_of(case: str) -> tuple[int, int, int]:
    return SHAPES[int(case.split("_")[-2])]


def test_every_case_is_padded_to_the_size_that_holds_the_largest(store):
    assert store.images.shape == (14, 4, *networks.next_size(20, 27)) == (14, 4, 24, 32)
    for case in store.cases:
        inside = np.zeros((24, 32), bool)
        inside[store.inside(case)] = True
        assert inside.sum() == np.prod(shape_of(case)[1:])
        assert not store.images[store.rows(case)][..., ~inside].any()
        assert not store.masks[store.rows(case)][..., ~inside].any()


def test_a_crop_that_no_network_takes_is_made_larger(source, pam_home):
    assert prepare(replace(DATASETS.build("brats2018"), size=(9, 16)), source).images.shape[-2:] == (16, 16)


def test_scores_count_the_scan_alone_and_the_padding_never(store):
    found = evaluate(Everywhere(), store, store.patients, device=CPU, precision="float32", chosen=ALL)
    for row in found.slices:
        _, height, width = shape_of(row["case"])
        assert (row["tp"] + row["fp"], row["fn"], row["tn"]) == (height * width, 0, 0)
        assert row["diagonal_px"] == pytest.approx(np.hypot(height, width))
    for row in found.cases:
        assert row["tp"] + row["fp"] == np.prod(shape_of(row["case"]))
    for row in found.predictions:
        _, height, width = shape_of(row["case"])
        assert unpacked(row["mask"], row["height"], row["width"]).sum() == height * width


def test_scores_are_those_of_the_restored_prediction_in_its_source(store, source):
    found = evaluate(Stripes(), store, store.patients, device=CPU, precision="float32", chosen=ALL)
    assert all(row[count] for row in found.cases for count in ("tp", "fp", "fn", "tn"))
    for row in found.cases:
        masks = [unpacked(p["mask"], 24, 32) for p in found.predictions if p["case"] == row["case"]]
        back = restore(store, row["case"], np.stack(masks))
        original = nib.load(next(source.rglob(f"{row['case']}_seg.nii.gz")))
        assert back.shape == original.shape and np.array_equal(back.affine, original.affine)
        expected = score(np.asarray(back.dataobj) > 0, np.asarray(original.dataobj) == 4, (1.0, 1.0, 1.0))
        assert {name: row[name] for name in ("tp", "fp", "fn", "tn", "dice")} == pytest.approx(
            {name: expected[name] for name in ("tp", "fp", "fn", "tn", "dice")}, nan_ok=True
        )


def test_a_study_trains_and_scores_on_such_scans(store):
    study = Study(
        question="Small?",
        dataset="brats2018",
        reference=Variant("unet", {"width": 2}),
        variants=(Variant("rfna", {"width": 2}),),
        folds=2,
        seeds=1,
        recipe={"epochs": 1, "slices": "all", "batch_size": 4},
    )
    for cell, split in plan(study, store, folds=[0]):
        epochs = list(cells.run(cell, store, split, device=CPU, provenance={}, record=ledger.add))
        assert np.isfinite(epochs[-1].loss)
        assert len(ledger.read(cell.id).slices) == sum(len(store.rows(case)) for _, case in store.cases_of(split.test))
