"""CityScapes: vehicles in street scenes, one PNG per frame and one per label image."""

from __future__ import annotations

from pathlib import Path

from pam.datasets.dataset import DATASETS, Case, Dataset, Problem
from pam.study import Recipe

VEHICLES = tuple(range(26, 34))  # car, truck, bus, caravan, trailer, train, motorcycle, bicycle
UNKNOWN = 255  # −1, licence plates, in 8 bits
IMAGE, LABELS = "_leftImg8bit.png", "_gtFine_labelIds.png"
PARTS = ("train", "val")


@DATASETS.register
def cityscapes() -> Dataset:
    """Vehicles against background in the fine set's train and val cities, at 256 × 128.

    A frame is a case; its city counts as the patient, so no city is on both sides of a split. Differs from the paper,
    which names no normalisation: each frame's channels have mean 0 and deviation 1. A pixel is a vehicle where at
    least half of the pixels it stands for are.
    """
    return describe("cityscapes", "CityScapes", size=(128, 256))


def describe(name: str, title: str, **changes: object) -> Dataset:
    """A data set in CityScapes' layout."""
    description: dict[str, object] = {
        "name": name,
        "title": title,
        "target": "vehicles",
        "expects": f"leftImg8bit/train/aachen/aachen_000000_000019{IMAGE} and gtFine/train/aachen/…{LABELS}",
        "modalities": ("red", "green", "blue"),
        "shown": "green",
        "labels": (*range(34), UNKNOWN),
        "target_labels": VEHICLES,
        "zero_outside": False,
        "recipe": Recipe(epochs=100, batch_size=8, learning_rate=2e-4),
        "split": "fixed",  # the paper's: train and val cities, one train city held out
        "reader": "frames",
        "find": find,
        "stand_in": "phantom_cityscapes",
    }
    return Dataset(**{**description, **changes})  # type: ignore[arg-type]


def find(source: Path) -> list[Case]:
    """Every frame of the train and val cities; a label image without frame is not missed."""
    frames = [(part, path) for part in PARTS for path in sorted(source.glob(f"leftImg8bit/{part}/*/*{IMAGE}"))]
    return [_case(source, part, path) for part, path in frames]


def _case(source: Path, part: str, image: Path) -> Case:
    city, name = image.parent.name, image.name.removesuffix(IMAGE)
    labels = source / "gtFine" / part / city / f"{name}{LABELS}"
    message = "is missing; restore the file or remove its frame"
    problems = () if labels.exists() else (Problem(path=labels, message=message),)
    return Case(case=name, patient=city, images=(image,), target=(labels,), part=part, problems=problems)
