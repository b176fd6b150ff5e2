"""A prepared data set to look at: one self-contained HTML page, and the same figures as one PNG."""

from __future__ import annotations

import base64
import io
import re
from importlib import resources
from pathlib import Path

import jinja2
from PIL import Image

from pam import data_summary
from pam.data.store import Store
from pam.files import whole
from pam.report.figures import data as figures

PHANTOM = "PHANTOM DATA: images made by this project, not by a scanner; they say nothing about patients."
SPACINGS = 8  # shown one by one


def write(store: Store, folder: Path, split: str | None = None) -> tuple[Path, Path]:
    """Write NAME.html and NAME.png into the folder; their paths.

    split: the one choice of split to show, in the words of `pam.data.split_choice`; None for all that the store can be
    split by. Raises `PamError` for a choice that it cannot; nothing is written then. The same store gives the same
    bytes.
    """
    cases = data_summary.cases_of(store)
    divisions = data_summary.divisions(store, cases, split)
    found = data_summary.intensities(store)
    shown = (cases[cases.target > 0] if (cases.target > 0).any() else cases).head(figures.TILES)
    images = (
        figures.contact_sheet(store, shown),
        figures.sizes(store, cases),
        figures.intensities(store, found),
    )
    spacings = data_summary.spacings(store)
    text = _template().render(
        store=store,
        phantom=PHANTOM,
        cases=cases,
        empty=data_summary.without_target(cases),
        slices=len(store.index),
        size=" × ".join(map(str, store.images.shape[-2:])),
        with_target=int(cases.with_target.sum()),
        share=f"{cases.target.sum() / max(1, cases.brain.sum()):.2%}",
        tiles=[
            (case, figures.percent(share), _uri(figures.tile(store, case, row)))
            for case, share, row in zip(shown.case.tolist(), shown.share.tolist(), shown.row.tolist(), strict=True)
        ],
        modality=figures.modality(store),
        divisions=divisions,
        spacings=spacings.head(SPACINGS).to_dict("records"),
        other_spacings=max(0, len(spacings) - SPACINGS),
        intensities=found,
        sample=data_summary.SAMPLE,
        tail=data_summary.TAIL,
        sizes=_uri(images[1]),
        histograms=_uri(images[2]),
    )
    name = re.sub(r"[^\w=.-]", "_", store.dataset)  # a data set's options are part of its name
    paths = (folder / f"{name}.html", folder / f"{name}.png")
    for path, content in zip(paths, (text.encode(), _stacked(images)), strict=True):
        with whole(path) as file:
            file.write(content)
    return paths


def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(resources.files("pam.report").joinpath("templates", "data.html").read_text("utf-8"))


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _stacked(images: tuple[bytes, ...]) -> bytes:
    """The pictures below each other, as one PNG."""
    pictures = [Image.open(io.BytesIO(image)).convert("RGB") for image in images]
    size = (max(picture.width for picture in pictures), sum(picture.height for picture in pictures))
    sheet = Image.new("RGB", size, "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
