import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pam import study
from pam.errors import StudyError
from pam.report import tables
from pam.report.figures import panels, style
from pam.study import Panel

STUDY = study.load("fpa_dilation")
ONE = replace(STUDY, panels=STUDY.panels[:1])


def table_of(manifest) -> tables.Table:
    return tables.build(manifest, STUDY, tables.collect(manifest))


@pytest.fixture(scope="module")
def table(swept, shared_home: Path) -> tables.Table:
    """Of a fold without gaps."""
    return table_of(swept(STUDY, folds=[0], seeds=[0]))


@pytest.fixture(scope="module")
def files(table) -> dict[str, bytes]:
    """The figure of that table, by format."""
    return panels.draw(STUDY, table)


def said(svg: bytes) -> str:
    """The texts of a figure, which matplotlib keeps as comments beside their outlines."""
    return " ".join(re.findall(r"<!-- (.*?) -->", svg.decode()))


def test_the_same_table_gives_the_same_bytes(swept) -> None:
    table = table_of(swept(STUDY, folds=[0, 1], seeds=[0]))  # two cells: with error bars
    assert panels.draw(STUDY, table) == panels.draw(STUDY, table)


def test_no_file_holds_a_date(files) -> None:
    assert b"<dc:date>" not in files["svg"]
    assert Image.open(io.BytesIO(files["png"])).info.keys() == {"dpi"}


def test_the_figure_has_the_four_panels_of_figure_7_and_names_its_data(files) -> None:
    text = said(files["svg"])
    for panel in ("a) fpa (depthwise=True)", "b) fpa", "c) fpa (depthwise=False)", "d) fpa"):
        assert panel in text
    assert "fpa_dilation on BRATS 2018" in text
    assert "PHANTOM" not in text


def test_a_phantom_is_named_in_the_figure(swept) -> None:
    text = said(panels.draw(ONE, table_of(swept(STUDY, folds=[0], seeds=[0], phantom=True)))["svg"])
    assert "(PHANTOM)" in text


def test_a_missing_point_is_marked_and_changes_the_figure(swept, files) -> None:
    label = STUDY.variants[0].name
    gap = panels.draw(STUDY, table_of(swept(STUDY, folds=[1], seeds=[0], without=[(label, 1, 0)])))
    assert "no result" in said(gap["svg"])
    assert "no result" not in said(files["svg"])


def test_a_study_without_panels_has_no_figure(table) -> None:
    assert panels.draw(replace(STUDY, panels=()), table) == {}


def test_a_panel_holds_the_rows_that_fit_it() -> None:
    points = panels.rows_of(STUDY.panels[3], STUDY)
    assert list(points) == [(6, 1), (6, 2), (9, 1), (9, 2), (12, 1), (12, 2)]
    assert points[9, 2].options == {"dilation": 9, "expansion": 2, "depthwise": False}


@pytest.mark.parametrize(
    ("panel", "message"),
    [
        (Panel(name="x", network="rfna", over="ratio", lines="expansion"), "panel 'x': no row of study 'fpa_dilation'"),
        (Panel(name="x", network="fpa", over="dilation", lines="expansion"), "are one point; narrow `where`"),
    ],
)
def test_a_panel_that_does_not_fit_its_study_is_refused(panel: Panel, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        panels.rows_of(panel, STUDY)


def test_the_figure_is_as_wide_as_a_page_of_text(files) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(files["png"])))
    assert pixels.shape[1] == round(300 * style.WIDTH)


def test_rows_that_were_not_asked_for_leave_marked_gaps(swept) -> None:
    manifest = swept(STUDY, folds=[0], seeds=[0])
    chosen = manifest | {"cells": [cell for cell in manifest["cells"] if cell["label"] == "unet"]}
    assert "no result" in said(panels.draw(ONE, table_of(chosen))["svg"])
