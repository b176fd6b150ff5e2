"""The HTML report, opened in a real browser: it asks for nothing, has no error, and its controls do what they say."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pam import failures
from pam.report import publish, results
from pam.study import Claim, Study, Variant

STUDY = Study(
    name="browsed",
    question="Is <fpa> better than the Unet?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=(Variant("fpa"), Variant("aunet"), Variant("rfna")),
    folds=2,
    seeds=1,
    claims=(Claim(id="C1", text="fpa beats unet", row="fpa", over=("unet",)),),
)
MISSING, FAILED, DIVERGED, STALE = ("aunet", 1, 0), ("rfna", 0, 0), ("rfna", 1, 0), ("fpa", 1, 0)
PROBE = """<script>
window.addEventListener("load", () => {
const table = document.querySelector("#paper table");
const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.startsWith("IoU"));
const press = () => { table.tHead.rows[0].cells[column].querySelector("button").click();
  return [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.value)); };
const visible = () => [...document.querySelectorAll("#tiles li:not([hidden])")];
const tiles = () => visible().map((tile) => [tile.dataset.row, Number(tile.dataset.dice)]);
const choose = (value) => { const row = document.getElementById("row"); row.value = value;
  row.dispatchEvent(new Event("change")); return tiles(); };
const lost = [...document.querySelectorAll("#missing ~ .wide tbody tr")];
const links = [...document.querySelectorAll("a[href^='#']")].map((link) => link.getAttribute("href").slice(1));
const found = { lost: lost.map((row) => [row.id, row.innerText.split("\t").map((text) => text.trim())]),
  dangling: links.filter((link) => !document.getElementById(link)),
  up: press(), down: press(), sorted: table.tHead.rows[0].cells[column].getAttribute("aria-sort"),
  reference: tiles(), second: choose("1"), all: choose(""),
  pictures: [...document.images].map((image) => image.complete && image.naturalWidth > 0),
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth };
const masks = document.getElementById("masks");
masks.click();
found.hidden = getComputedStyle(document.querySelector(".slice img")).visibility;
const told = document.createElement("pre");
told.id = "found"; told.textContent = JSON.stringify(found); document.body.append(told);
});
</script>"""


@pytest.fixture(scope="module")
def page(swept, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of an unfinished study, in which cells failed, and one rests on other data."""
    stale = {"data": {"hash": "fedcba9876543210"}}
    manifest = swept(STUDY, without=[MISSING, FAILED, DIVERGED], provenance=lambda *who: stale if who == STALE else {})
    for cell in manifest["cells"]:
        who = (cell["label"], cell["fold"], cell["seed"])
        if who == FAILED:
            failures.write(failures.Failure(cell=cell, kind=failures.FAILED, epoch=3, message="RuntimeError: <no>"))
        elif who == DIVERGED:
            failures.write(failures.Failure(cell=cell, kind=failures.DIVERGED, epoch=2, message="the loss is NaN"))
    report = publish.make(results.collect(manifest, STUDY))
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(report.files["report.html"])
    return path


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory):
    """Runs Chromium on a page: what it prints and what its console says. Skips where there is none."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on PATH; install it (Debian: apt-get install chromium) to open reports in it")

    def run(page: Path, *flags: str, size: str = "1280,1600") -> tuple[str, list[str]]:
        profile = tmp_path_factory.mktemp("profile")
        quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *quiet]
        command += [f"--user-data-dir={profile}", f"--window-size={size}", "--virtual-time-budget=5000"]
        command += ["--enable-logging=stderr", *flags, page.as_uri()]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return ended.stdout, [line for line in ended.stderr.splitlines() if "CONSOLE" in line]

    return run


def test_the_page_asks_for_nothing_and_escapes_what_it_is_told(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")\s]+)', re.sub(r"base64,[^\")]*", "base64,", text))
    assert links
    assert [link for link in links if not link.startswith(("data:", "#"))] == []
    assert "Is &lt;fpa&gt; better than the Unet?" in text


def test_the_page_tells_what_is_missing_and_where_each_number_comes_from(page: Path) -> None:
    text = page.read_text()
    assert "3 cells missing." in text
    assert "Stale: 1 cell<" in text
    assert "1 failed, 1 diverged, 1 missing, 1 stale of 8 cells" in text
    assert "RuntimeError: &lt;no&gt;" in text
    assert "python -m pam.sweep browsed --dataset brats2018" in text
    assert "--rerun failed" in text
    for part in ("Verdicts", "Tables", "Figures", "Cases", "Data and split", "Where each number comes from"):
        assert f">{part}</h2>" in text
    assert text.count("<td>finished</td>") == 4
    assert "0123456789abcdef" in text


def test_in_a_browser_tables_sort_cases_are_chosen_and_nothing_fails(page: Path, browser) -> None:
    probed = page.with_name("probed.html")
    eager = page.read_text().replace('loading="lazy"', "")  # the page's load event then waits for every image
    probed.write_text(eager.replace("</body>", f"{PROBE}</body>"))
    told, errors = browser(probed, "--dump-dom", size="390,800")  # a phone
    assert errors == []
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', told, re.DOTALL)[1]))
    told = [text[:1] + text[2:6] for _, text in found["lost"]]
    assert told == [
        ["failed", "0", "0", "3", "RuntimeError: <no>"],
        ["diverged", "1", "0", "2", "the loss is NaN"],
        ["missing", "1", "0", "–", "not trained yet"],
        ["stale", "1", "0", "–", "data hash fedcba9876543210 instead of 0123456789abcdef"],
    ]
    assert [text[1] for _, text in found["lost"]] == ["rfna", "rfna", "aunet", "fpa"]
    assert found["dangling"] == []  # each row and cell that a link names is there
    numbers = sorted(number for number in found["up"] if number is not None)
    assert len(set(numbers)) == 3
    assert found["up"] == [*numbers, None]  # the row without a finished cell stays last
    assert found["down"] == [*numbers[::-1], None]
    assert found["sorted"] == "descending"
    assert {row for row, _ in found["reference"]} == {"0"}
    assert {row for row, _ in found["second"]} == {"1"}
    assert {row for row, _ in found["all"]} == {"0", "1", "2"}
    for tiles in (found["reference"], found["second"], found["all"]):
        assert [dice for _, dice in tiles] == sorted(dice for _, dice in tiles)
    assert found["hidden"] == "hidden"
    assert set(found["pictures"]) == {True}  # each is there and could be read
    assert found["wide"] == 0  # nothing reaches beyond a phone's screen


def test_an_error_on_a_page_would_be_seen(page: Path, browser) -> None:
    broken = page.with_name("broken.html")
    broken.write_text(page.read_text().replace("</body>", "<script>nothing.there()</script></body>"))
    assert len(browser(broken, "--dump-dom")[1]) == 1


@pytest.mark.parametrize(("width", "height"), [(1280, 1600), (390, 1600)])
def test_the_page_can_be_seen(page: Path, browser, pytestconfig: pytest.Config, width: int, height: int) -> None:
    kept = Path(pytestconfig.cache.mkdir("screenshots"))  # .pytest_cache/d/screenshots, to look at
    picture = kept / f"report-{width}.png"
    browser(page, f"--screenshot={picture}", size=f"{width},{height}")
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape == (height, width)
    assert 0.5 < (pixels > 200).mean() < 0.99  # paper with ink on it
