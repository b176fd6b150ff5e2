"""`python -m pam.predict STUDY --variant best CASE … -o DIR`: new cases segmented in their source's geometry."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from PIL import Image

from pam import cli, ensemble, ledger, manifest, study
from pam.data import new_case, nifti
from pam.data.new_case import NewCase
from pam.datasets import DATASETS
from pam.ensemble import Ensemble, Segmentation
from pam.errors import DataError
from pam.evaluate import in_unit
from pam.files import check_writable, whole, write_text
from pam.metrics import score


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    asked = manifest.read(study.load(arguments.study).name, arguments.dataset)
    dataset = DATASETS.build(asked["dataset"])
    networks = ensemble.load(asked, arguments.variant)
    # All cases are read before the first is written: a bad one leaves nothing half-done.
    cases = [new_case.read(dataset, place, networks.size, networks.modalities) for place in arguments.case]
    _check_names(arguments.case, [new.case.case for new in cases])
    check_writable(arguments.out, otherwise="name another folder with -o")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(_heading(networks))
    rows = []
    for new in cases:
        found = ensemble.segment(networks, new, device)
        files = _write(new, found, arguments.out, uncertainty=arguments.uncertainty)
        print(f"{new.case.case}: {int(found.mask.sum())} voxels of {networks.data['target']} → {', '.join(files)}")
        if len(found.members) < len(networks.members):
            print(
                f"{new.case.case}: of the study's own patient {new.case.patient}; segmented by those "
                f"{len(found.members)} of {len(networks.members)} networks that have not trained on it"
            )
        rows += [_scored(new, found)] if new.has_truth else []
    if rows:
        table = pd.DataFrame(rows)
        write_text(arguments.out / "scores.csv", table.to_csv(index=False))
        print(table[["case", "dice", "iou", "hd95_mm", "state"]].to_string(index=False))
    write_text(arguments.out / "provenance.json", json.dumps(_provenance(networks), indent=1))
    return 0


def _check_names(places: Sequence[Path], names: Sequence[str]) -> None:
    """Raise `DataError` for two cases of one name: the files of one would replace the other's."""
    first: dict[str, Path] = {}
    for place, name in zip(places, names, strict=True):
        if name in first:
            raise DataError(f"{place}: a case named {name}, as in {first[name]}; segment one of them with another -o")
        first[name] = place


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m pam.predict", description="Segment new cases with a study's trained networks.")
    parser.add_argument("study", help="a study's name, or the path of its file")
    parser.add_argument(
        "case",
        nargs="+",
        type=Path,
        help="a case's folder, laid out as the study's data set is; of msd and nnunet, one of its image files",
    )
    parser.add_argument(
        "--variant",
        default=ensemble.BEST,
        help="the row whose networks to use: its name or words of it (default: best, the highest Dice per patient)",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--dataset", help="the data set that was swept (default: the one swept last)")
    parser.add_argument(
        "--uncertainty", action="store_true", help="also write the probability and its SD over the networks"
    )
    return parser.parse_args(argv)


def _heading(networks: Ensemble) -> str:
    data, phantom = networks.data, " (PHANTOM: of no use on patients)" if networks.data["phantom"] else ""
    count = len(networks.members)
    return f"{networks.variant}: mean of {count} networks trained on {data['title']}{phantom}, {data['target']}"


def _write(new: NewCase, found: Segmentation, out: Path, *, uncertainty: bool) -> list[str]:
    """The case's files: NIfTI in the source's geometry, or a TIFF per slice where the source has none."""
    volumes = {"prediction": found.mask}
    if uncertainty:
        volumes |= {"probability": found.probability, "disagreement": found.disagreement}
    files = []
    for name, volume in volumes.items():
        uncropped = new.crop.undo(volume)
        if new.scan.geometry is None:
            files += [_write_slice(new, number, plane, name, out) for number, plane in enumerate(uncropped)]
        else:
            files.append(f"{new.case.case}_{name}.nii.gz")
            _write_image(nifti.restore(uncropped, new.scan.geometry), out / files[-1])
    return files if len(files) <= len(volumes) else [f"{files[0]} … {Path(files[-1]).name}"]


def _write_image(image: nib.Nifti1Image, path: Path) -> None:
    """Whole or not at all; nibabel takes the compression from the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    image.to_filename(partial)
    partial.replace(path)


def _write_slice(new: NewCase, place: int, plane: np.ndarray, name: str, out: Path) -> str:
    pixels = plane.astype(np.float32) if plane.dtype.kind == "f" else plane.astype(np.uint8) * 255
    path = out / new.case.case / f"{new.case.case}_{new.scan.numbers[place]}_{name}.tif"
    with whole(path) as file:
        Image.fromarray(pixels).save(file, format="TIFF")
    return str(path.relative_to(out))


def _scored(new: NewCase, found: Segmentation) -> dict[str, object]:
    """The case's scores against its truth, on the whole of it: what lies outside the crop counts as missed."""
    spacing = new.scan.spacing_mm or (np.nan,) * 3
    scores = score(new.crop.undo(found.mask), new.scan.target, spacing)
    return {"case": new.case.case, "patient": new.case.patient, **in_unit(scores, "mm")}


def _provenance(networks: Ensemble) -> dict[str, object]:
    cells = [member.cell for member in networks.members]
    commits = sorted({str(ledger.read_provenance(cell).get("git_commit", "")) for cell in cells})
    return {"variant": networks.variant, "cells": cells, "git_commits": commits, "data": dict(networks.data)}


if __name__ == "__main__":
    cli.run(main)
