"""Verdicts on results whose truth is known."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from pam import ledger
from pam.errors import StudyError
from pam.report import claims, render, results
from pam.report import verdicts as claim_table
from pam.report.levels import level, settings_of, span
from pam.study import Claim, Equivalence, Study, Trend, Variant, by_level, grid

GOOD, BASE, BAD = Variant("fpa", label="good"), Variant("unet"), Variant("aunet", label="bad")
BETTER = Claim(id="C1", text="good beats unet", row="good", over=("unet",), score="dice")
STUDY = Study(
    name="claimed",
    question="Which is best?",
    dataset="brats2018",
    reference=BASE,
    variants=(GOOD, BAD),
    folds=5,
    seeds=2,
    claims=(BETTER,),
)
FOUND = {"good": 18, "unet": 12, "bad": 6}  # of the target's 20 pixels, on average


def masks(label: str, fold: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Six patients a fold, who lose a few pixels by luck."""
    generator = np.random.default_rng([FOUND[label], fold, seed])
    scans = {}
    for number in range(6):
        target, prediction = np.zeros((2, 2, 6, 20), bool)
        target[0, 2], prediction[0, 2, : FOUND[label] + generator.integers(-1, 2)] = True, True
        scans[f"patient {fold}{number}"] = (prediction, target)
    return scans


def verdicts(swept, study: Study = STUDY, **chosen) -> dict[str, claims.Verdict]:
    return {verdict.claim.id: verdict for verdict in judged(study, swept(study, masks=masks, **chosen))}


def judged(study: Study, manifest) -> tuple[claims.Verdict, ...]:
    found = results.collect(manifest, study)
    return claims.judge(study, found.scores["patient"], len(found.older))


def page(study: Study, manifest) -> str:
    return render.markdown(claim_table.sheet(judged(study, manifest)), results.collect(manifest, study).table)


def with_claims(*several: Claim) -> Study:
    return replace(STUDY, claims=several)


def test_a_clear_gain_is_supported_and_its_reverse_contradicted(swept) -> None:
    reverse = replace(BETTER, id="C2", row="unet", over=("good",))
    missed = replace(BETTER, id="C3", score="fn_rate", more=False)
    found = verdicts(swept, with_claims(BETTER, reverse, missed))
    assert {name: verdict.outcome for name, verdict in found.items()} == {
        "C1": "supported",
        "C2": "contradicted",
        "C3": "supported",
    }
    assert found["C1"].found.mean == pytest.approx(-found["C2"].found.mean)
    assert found["C1"].found.patients == 30
    assert found["C1"].seeds == 2


def test_a_claim_over_several_rows_must_hold_against_each(swept) -> None:
    over_all = replace(BETTER, row="unet", over=("bad", "good"))
    verdict = verdicts(swept, with_claims(over_all))["C1"]
    assert (verdict.outcome, verdict.other) == ("contradicted", "good")


def test_a_supported_claim_never_covers_zero(swept) -> None:
    verdict = verdicts(swept)["C1"]
    low, _ = verdict.found.interval()
    assert verdict.outcome == "supported"
    assert low > 0


def test_more_claims_make_each_harder_to_support(swept) -> None:
    alone = verdicts(swept)["C1"].p
    both = verdicts(swept, with_claims(BETTER, replace(BETTER, id="C2")))["C1"].p
    assert both == pytest.approx(2 * alone)


def test_equal_rows_leave_a_claim_undecided(swept) -> None:
    about = replace(BETTER, row="unet again")
    twin = replace(STUDY, variants=(replace(GOOD, label="unet again"),), claims=(about,))
    [same] = judged(twin, swept(twin, masks=lambda _, fold, seed: masks("unet", fold, seed)))
    assert (same.outcome, same.advice) == ("undecided", "no difference was seen")


def test_one_fold_decides_nothing_and_says_why(swept) -> None:
    verdict = verdicts(swept, folds=[0])["C1"]
    assert verdict.outcome == "undecided"
    assert math.isnan(verdict.p)
    assert "6 patients in 1 test folds; an interval needs at least 3 in 2" in claims.sentence(verdict)


def test_a_row_without_a_finished_cell_is_named(swept) -> None:
    gone = {("good", fold, seed) for fold in range(5) for seed in range(2)}
    verdict = verdicts(swept, without=gone)["C1"]
    assert verdict.advice == "no cell of 'good' is finished"


def test_one_seed_tells_nothing_about_more_seeds(swept) -> None:
    close = with_claims(replace(BETTER, score="hd95", more=False))
    noise = np.random.default_rng(0).integers(-4, 5, (3, 5))

    def alike(label: str, fold: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        shift = int(noise[["good", "unet", "bad"].index(label), fold])
        return {name: (np.roll(pair[0], shift, axis=2), pair[1]) for name, pair in masks("unet", fold, seed).items()}

    [verdict] = judged(close, swept(close, masks=alike, seeds=[0]))
    assert verdict.outcome == "undecided"
    assert verdict.advice.endswith("; what more seeds would do is not known from one")


def test_the_page_names_unit_effect_and_adjusted_p(swept) -> None:
    text = page(STUDY, swept(STUDY, masks=masks))
    assert "| C1 | good beats unet | **supported** | Dice | good | unet | +0." in " ".join(text.split())
    assert "Holm over these claims" in text


def test_entries_that_lack_the_diagonal_are_counted(swept) -> None:
    study = with_claims(replace(BETTER, score="hd95", more=False))
    manifest = swept(study, masks=masks)
    older = ledger.read(manifest["cells"][0]["id"])
    ledger.remove(older.cell["id"])
    ledger.write(replace(older, cases=older.cases.drop(columns="diagonal_mm")))
    assert "C1: 1 cell(s) were scored before the image's diagonal was stored" in page(study, manifest)


NEARER = replace(BETTER, id="C2", score="hd95", more=False)


def test_distances_are_judged_in_pixels_where_the_data_tells_no_spacing_and_in_mm_where_it_does(swept) -> None:
    study = with_claims(NEARER)
    for spacing, unit in ((math.nan, "px"), (2.0, "mm")):
        manifest = swept(study, masks=masks, spacing=spacing)
        [verdict] = judged(study, manifest)
        assert verdict.outcome == "supported"
        assert verdict.measure.heading == f"HD95 ({unit})"
        text = page(study, manifest)
        assert f"| HD95 ({unit}) |" in text
        assert ("tells no spacing" in text) == (unit == "px")
        for cell in manifest["cells"]:
            ledger.remove(cell["id"])


def test_a_patients_distance_in_pixels_is_the_mean_of_its_slices(swept) -> None:
    found = results.collect(swept(STUDY, masks=masks, spacing=math.nan), STUDY)
    scores = found.scores["patient"]
    assert [measure.key for measure in scores.measures] == ["iou", "dice", "hd95_px", "fn_rate"]
    assert [measure.key for measure in found.scores["brats"].measures] == ["dice"]
    ids = set(found.cells.id[found.cells.label == "good"])
    slices = ledger.read_many(sorted(ids), "slices", ["patient", "state", "hd95_px"])
    expected = slices[slices.state == "both"].astype({"patient": str}).groupby("patient").hd95_px.mean()
    assert scores.contrast({"good": 1.0}, "hd95_px").per_patient.tolist() == pytest.approx(expected.tolist())


def test_a_margin_in_mm_is_not_judged_in_pixels(swept) -> None:
    about = Equivalence(id="C3", text="no nearer", levels=(("good",), ("unet",)), margin=9.0, score="hd95")
    [verdict] = judged(with_claims(about), swept(with_claims(about), masks=masks, spacing=math.nan))
    assert (verdict.outcome, verdict.advice) == ("undecided", "its margin is in mm, and the data set tells no spacing")


FACTOR = tuple(Variant("fpa", {"dilation": level}) for level in (2, 4, 8))
FLAT = tuple(Variant("fpa", {"dilation": level, "depthwise": False}) for level in (2, 4, 8))
TRENDS = Study(
    name="trends",
    question="Does dilation help?",
    dataset="brats2018",
    reference=BASE,
    variants=(*FACTOR, *FLAT),
    folds=5,
    seeds=2,
)
RISING = Trend(id="C11", text="more is better", levels=by_level(FACTOR, "dilation"), score="dice")


def rising(label: str, fold: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Depth-wise rows find 6, 10 and 14 of 20 pixels, the others 10, all with a little luck."""
    found = {"fpa dilation=2": 6, "fpa dilation=8": 14}.get(label, 10)
    generator = np.random.default_rng([*label.encode(), fold, seed])
    scans = {}
    for number in range(6):
        target, prediction = np.zeros((2, 2, 6, 20), bool)
        target[0, 2], prediction[0, 2, : found + generator.integers(-1, 2)] = True, True
        scans[f"patient {fold}{number}"] = (prediction, target)
    return scans


def outcomes(swept, *several) -> dict[str, claims.Verdict]:
    study = replace(TRENDS, claims=several)
    return {verdict.claim.id: verdict for verdict in judged(study, swept(study, masks=rising))}


def test_a_trend_is_supported_where_it_is_and_contradicted_where_it_falls(swept) -> None:
    falling = replace(RISING, id="down", levels=RISING.levels[::-1])
    found = outcomes(swept, RISING, falling)
    assert {name: verdict.outcome for name, verdict in found.items()} == {"C11": "supported", "down": "contradicted"}
    assert found["C11"].page == pytest.approx((1 / 6) ** 5)
    # From level to level four more of 20 pixels are found: Dice of 6, 10 and 14 of 20 is 0.46, 0.67, 0.82.
    assert found["C11"].found.mean == pytest.approx((2 * 14 / 34 - 2 * 6 / 26) / 2, abs=0.02)


def test_only_in_these_rows_means_a_weaker_trend_in_the_others(swept) -> None:
    only = replace(RISING, id="only", beyond=by_level(FLAT, "dilation"))
    neither = replace(only, id="neither", beyond=RISING.levels)
    found = outcomes(swept, only, neither)
    assert (found["only"].outcome, found["neither"].outcome) == ("supported", "undecided")
    assert found["only"].row.startswith("dilation=2 → dilation=8")
    assert "slope of" in found["neither"].row


def test_levels_are_named_by_what_tells_them_apart() -> None:
    settings = settings_of(TRENDS)
    alone, flat = by_level(FACTOR, "dilation"), by_level(FLAT, "dilation")
    both = by_level((*FACTOR, *FLAT), "dilation")
    assert [level(rows, both, settings) for rows in both] == ["dilation=2", "dilation=4", "dilation=8"]
    assert span(flat, settings) == "dilation=2 → dilation=8 (3 levels)"
    deep = grid(Variant("fpa"), dilation=[2, 4, 8], depthwise=[True])
    both_kinds = settings_of(replace(TRENDS, variants=(*deep, *FLAT)))
    of = by_level(deep, "dilation")
    assert span(of, both_kinds, flat) == "dilation=2 → dilation=8, depthwise=True (3 levels)"
    named = (("unet",), ("fpa dilation=2",))
    assert [level(rows, named, settings) for rows in named] == ["unet", "dilation=2"]
    many = (("unet", *alone[0], *alone[1]), ("unet",))
    assert level(many[0], many, settings) == "unet + 2 more"


def test_levels_without_a_difference_are_equivalent_within_a_wide_margin_only(swept) -> None:
    about = Equivalence(id="wide", text="no effect", levels=by_level(FLAT, "dilation"), margin=0.1, score="dice")
    found = outcomes(
        swept, about, replace(about, id="narrow", margin=1e-4), replace(about, id="not", levels=RISING.levels)
    )
    assert {name: verdict.outcome for name, verdict in found.items()} == {
        "wide": "supported",
        "narrow": "undecided",
        "not": "contradicted",
    }
    low, high = found["wide"].found.interval()
    assert -0.1 < low < high < 0.1
    assert "patients" in found["narrow"].advice


def test_a_claim_about_levels_averages_the_rows_of_a_level(swept) -> None:
    both = by_level((*FACTOR, *FLAT), "dilation")
    assert both[0] == ("fpa dilation=2", "fpa dilation=2 depthwise=False")
    mixed = outcomes(swept, replace(RISING, levels=both))["C11"].found.mean
    alone = outcomes(swept, RISING)["C11"].found.mean
    flat = outcomes(swept, replace(RISING, levels=by_level(FLAT, "dilation")))["C11"].found.mean
    assert mixed == pytest.approx((alone + flat) / 2)


def test_a_relative_claim_states_per_cent_of_the_other_rows_mean(swept) -> None:
    fewer = Claim(
        id="C5", text="good misses less", row="good", over=("unet",), score="fn_rate", more=False, relative=True
    )
    study = with_claims(fewer)
    [verdict] = judged(study, swept(study, masks=masks))
    # good misses about 2 of 20 pixels, unet 8: three quarters less
    assert verdict.relative.change == pytest.approx(-0.75, abs=0.05)
    assert verdict.relative.low < verdict.relative.change < verdict.relative.high < 0
    assert verdict.outcome == "supported"
    assert re.search(r"\| +-\d+\.\d % \| -\d+\.\d to -\d+\.\d % \|", page(study, swept(study, masks=masks)))


@pytest.mark.parametrize(
    ("sizes", "outcome"), [((4, 12), "supported"), ((12, 4), "contradicted"), ((4, None), "undecided")]
)
def test_capacity_is_not_the_reason_only_where_the_better_row_is_the_smaller(swept, sizes, outcome) -> None:
    about = with_claims(replace(BETTER, smaller=True))
    told = dict(zip(("good", "unet"), sizes, strict=True))
    manifest = swept(about, masks=masks, provenance=lambda label, *_: {"parameters": told.get(label, 1)})
    [verdict] = judged(about, manifest)
    assert verdict.outcome == outcome
    assert "parameters: good" in verdict.advice


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (replace(BETTER, over=()), "compares with no row"),
        (replace(BETTER, over=("good",)), "compares 'good' with itself"),
        (replace(RISING, levels=(("good",), ("bad",))), "has 2 levels; a trend needs at least 3"),
        (Equivalence(id="C", text="", levels=(("good",), ("bad",)), margin=0), "has margin 0"),
        (Equivalence(id="C", text="", levels=(("good",), ("bad", "good")), margin=1), "has row 'good' twice"),
        (Equivalence(id="C", text="", levels=(("good",), ("no such",)), margin=1), "names no row of the study"),
    ],
)
def test_a_claim_that_cannot_be_tested_is_refused(claim, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        with_claims(claim)


def test_two_claims_of_one_name_are_refused() -> None:
    with pytest.raises(StudyError, match="claim 'C1' appears twice"):
        with_claims(BETTER, BETTER)


def test_an_unfinished_study_compares_what_both_rows_have(swept) -> None:
    gone = {("good", fold, 1) for fold in range(1, 5)}  # the second seed has only begun
    verdict = verdicts(swept, without=gone)["C1"]
    assert (verdict.outcome, verdict.found.patients, verdict.untested) == ("supported", 30, 0)
