"""The page of a prepared data set: its numbers against the index, its cases in order, nothing from outside."""

from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from pam import cli, data_report, data_summary
from pam.data.folds import k_fold
from pam.data.prepare import prepare
from pam.data.store import Store, find
from pam.datasets import DATASETS, phantom
from pam.prepare import main

EMPTY, BROKEN = "Brats18_PHANTOM_003_1", "Brats18_PHANTOM_005_1"


class Page(HTMLParser):
    """Addresses that a page names, its words, and its tables' rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.lasttag == "td" and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Eight patients in BRATS' layout, of whom one has no target and one a file that cannot be read."""
    tree = tmp_path_factory.mktemp("tree")
    phantom.write_tree(tree, patients=8, shape=(6, 32, 32))
    path = tree / "HGG" / EMPTY / f"{EMPTY}_seg.nii.gz"
    image = nib.load(path)
    nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine).to_filename(path)
    (tree / "HGG" / BROKEN / f"{BROKEN}_t1.nii.gz").write_bytes(b"no scan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAM_HOME", str(tmp_path_factory.mktemp("page_home")))
        return prepare(DATASETS.build("brats2018"), tree, skip_bad=True, workers=1)


@pytest.fixture(scope="module")
def page(store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    html, png = data_report.write(store, tmp_path_factory.mktemp("page"))
    return html.read_text(encoding="utf-8"), png


def test_the_page_asks_for_nothing_from_outside(page):
    text, _ = page
    addresses = Page(text).addresses
    assert len(addresses) > 6
    assert all(address.startswith("data:") for address in addresses)
    assert "://" not in text
    assert "default-src 'none'" in text and "width=device-width" in text


def test_the_page_names_cases_that_were_left_out_and_those_without_target(page):
    words = " ".join(Page(page[0]).words)
    assert "Cases left out for their errors (1):" in words
    assert f"{BROKEN} (patient Brats18_PHANTOM_005): " in words
    assert f"Without target, and not shown unless no case has one: {EMPTY}." in words
    assert "parts of patients' images" in words


def test_cases_come_worst_imbalance_first(store, page):
    index = store.index.groupby("case")[["target_pixels", "brain_pixels"]].sum()
    share = (index.target_pixels / index.brain_pixels)[index.target_pixels > 0].sort_values()
    cases = data_summary.cases_of(store)
    assert list(cases.case) == [*share.index, EMPTY]
    text = page[0]
    places = [text.index(f'<img alt="{case}"') for case in share.index]
    assert places == sorted(places)
    for case, row in zip(cases.case, cases.row, strict=True):
        of_case = store.index[store.index.case == case]
        assert case == EMPTY or of_case.target_pixels[row] == of_case.target_pixels.max()


def test_counts_per_side_are_those_of_the_index(store, page):
    index = store.index
    rows = [row for row in Page(page[0]).rows if len(row) == 7]
    expected = []
    for number, split in enumerate(k_fold(store.patients, data_summary.FOLDS)):
        for side, patients in (("train", split.train), ("test", split.test)):
            of_side = index[index.patient.isin(patients)]
            with_target = int((of_side.target_pixels > 0).sum())
            counts = [len(patients), of_side.case.nunique(), len(of_side), with_target]
            expected.append([str(number) if side == "train" else "", side, *map(str, counts)])
    assert [row[:6] for row in rows[: len(expected)]] == expected
    assert all(split.hash in page[0] for split in store.folds(data_summary.FOLDS))


def test_volumes_and_spacings_are_in_millilitres_and_millimetres(store):
    cases = data_summary.cases_of(store)
    assert cases.volume_ml.to_numpy() == pytest.approx(cases.target.to_numpy() / 1000)  # voxels of 1 mm
    assert data_summary.spacings(store).to_dict("records") == [{"spacing": "1 × 1 × 1 mm", "cases": 7}]


def test_intensities_are_those_of_the_store(store):
    images, masks = np.array(store.images, np.float64), np.array(store.masks) > 0
    inside = (images != 0).any(1)
    for channel, found in enumerate(data_summary.intensities(store)):
        assert found.numbers["mean"] == pytest.approx(images[:, channel][inside].mean())
        assert found.numbers["target_mean"] == pytest.approx(images[:, channel][masks].mean())
        area = (found.brain * np.diff(found.edges)).sum()
        assert 0.99 < area <= 1


def test_the_same_store_gives_the_same_bytes(store, page, tmp_path):
    text, png = page
    html, again = data_report.write(store, tmp_path)
    assert html.read_text(encoding="utf-8") == text
    assert again.read_bytes() == png.read_bytes()
    with Image.open(png) as picture:
        assert picture.width > 600 and picture.height > picture.width


def test_words_of_a_source_are_words_on_the_page(store, tmp_path):
    named = Store(store.path, store.__dict__ | {"cases": store._cases, "note": "<script>alert(1)</script>"})
    html, _ = data_report.write(named, tmp_path)
    assert "<script" not in html.read_text(encoding="utf-8")


def test_the_command_makes_a_phantoms_page_and_says_so(tmp_path, capsys):
    assert cli.guarded(main, ["phantom", "--show", "--out", str(tmp_path), "--split", "ratio"]) == 0
    assert f"written: {tmp_path / 'phantom.html'}" in capsys.readouterr().out
    text = (tmp_path / "phantom.html").read_text(encoding="utf-8")
    assert "PHANTOM DATA" in text
    assert "validation" in text and "stratified" not in text
    assert (tmp_path / "phantom.png").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["phantom", "--split", "random"], "study field 'split' is 'random'"),
        (["phantom", "--split", "fixed"], "is on no side"),
        (["lgg"], "data set 'lgg' is not prepared; run: python -m pam.prepare lgg --source DIR"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_leaves_nothing(arguments, expected, tmp_path, capsys):
    assert cli.guarded(main, [*arguments, "--show", "--out", str(tmp_path / "out")]) == cli.BAD_INPUT
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_data_set_of_one_patient_says_why_it_cannot_be_split(shared_data, tmp_path, capsys):
    words = ["brats2021", "--source", str(shared_data / "brats2021"), "--show", "--out", str(tmp_path)]
    assert cli.guarded(main, words) == 0
    text = (tmp_path / "brats2021.html").read_text(encoding="utf-8")
    assert "Not possible: 1 patient for 5 folds" in text
    assert "38 target voxels lie outside the crop" in text


def test_a_data_set_with_options_has_a_file_name_that_every_system_takes(store, tmp_path):
    tree = tmp_path / "tree"
    phantom.write_tree(tree, patients=2, shape=(4, 32, 32))
    assert cli.guarded(main, ["brats2018", "--set", "target=wt", "--source", str(tree), "--show"]) == 0
    shown = find("brats2018:target=wt").path.parent
    assert sorted(path.name for path in shown.glob("*.*") if path.suffix in (".html", ".png")) == [
        "brats2018_target=wt.html",
        "brats2018_target=wt.png",
    ]
