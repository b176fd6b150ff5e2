"""Verdicts on results whose truth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pam import claims, ledger, render, results
from pam import verdicts as claim_table
from pam.study import Claim, Study, Variant

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
    close = with_claims(replace(BETTER, score="hd95_mm", more=False))
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
    study = with_claims(replace(BETTER, score="hd95_mm", more=False))
    manifest = swept(study, masks=masks)
    older = ledger.read(manifest["cells"][0]["id"])
    ledger.remove(older.cell["id"])
    ledger.write(replace(older, cases=older.cases.drop(columns="diagonal_mm")))
    assert "C1: 1 cell(s) were scored before the image's diagonal was stored" in page(study, manifest)
