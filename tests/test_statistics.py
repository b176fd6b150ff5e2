"""Statistics against values worked out by hand, SciPy, and their own definitions."""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from pam.statistics import (
    beyond,
    equivalence,
    estimate,
    holm,
    mean_of,
    nadeau_bengio,
    rank_stability,
    relative_change,
    seed_noise,
    seeds_needed,
    trend,
    wilcoxon,
)

FOLDS = np.arange(30) % 5


def drawn(seed: int = 0, shift: float = 0.2) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, 30)


def test_patients_spread_is_that_of_scipys_paired_t_test() -> None:
    values = drawn()
    found = estimate(values, FOLDS).by_patient
    expected = stats.ttest_1samp(values, 0)
    assert (found.error, found.freedom) == pytest.approx((expected._standard_error, 29))
    assert_allclose(2 * found.tail(abs(values.mean())), expected.pvalue)


def test_folds_spread_is_that_of_a_t_test_on_fold_means_when_folds_are_equal() -> None:
    values = drawn()
    means = [values[fold == FOLDS].mean() for fold in range(5)]
    found = estimate(values, FOLDS)
    assert found.by_fold.error == pytest.approx(stats.sem(means))
    assert found.by_fold.freedom == 4


def test_the_wider_interval_and_the_larger_p_are_taken() -> None:
    values = drawn() + 3 * np.array([-1, -0.5, 0, 0.5, 1])[FOLDS]  # networks that differ by luck
    found = estimate(values, FOLDS)
    assert found.spread is found.by_fold
    low, high = found.interval()
    assert high - low == pytest.approx(2 * found.by_fold.half_width())
    assert found.p == pytest.approx(2 * found.by_fold.tail(abs(found.mean)))


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_covers_zero_exactly_where_p_exceeds_five_per_cent(seed: int) -> None:
    found = estimate(drawn(seed, 0.45), FOLDS)
    low, high = found.interval()
    assert (low <= 0 <= high) == (found.p >= 0.05)


def test_equal_scores_differ_by_nothing() -> None:
    found = estimate(np.zeros(30), FOLDS)
    assert (found.mean, found.interval(), found.p) == (0, (0, 0), 1)


@pytest.mark.parametrize(
    ("values", "folds", "message"),
    [
        ([1.0, 2.0, 3.0], [0, 0, 0], "3 patients in 1 test folds"),
        ([1.0, math.nan, 3.0], [0, 1, 0], "1 values are NaN"),
        ([1.0, 2.0], [0, 1, 0], "expected \\(patients\\) both"),
    ],
)
def test_differences_without_an_interval_are_refused(values: list[float], folds: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate(values, folds)


def test_nadeau_bengio_widens_by_the_overlap_of_the_training_sets() -> None:
    spread, p = nadeau_bengio([1.0, 2.0, 3.0, 4.0, 5.0], test_to_train=1 / 4)
    assert spread.error == pytest.approx(math.sqrt(2.5 * (1 / 5 + 1 / 4)))
    assert p == pytest.approx(2 * stats.t.sf(3 / spread.error, 4))


def test_equivalence_is_small_exactly_where_the_95_per_cent_interval_lies_within_the_margin() -> None:
    for seed, margin in itertools.product(range(10), (0.2, 0.5, 1.0)):
        found = estimate(drawn(seed, 0), FOLDS)
        low, high = found.interval()
        assert (equivalence(found, margin) < 0.05) == (-margin < low and high < margin)


def test_a_difference_lies_beyond_the_margin_where_all_three_intervals_do() -> None:
    decided = []
    for seed, margin in itertools.product(range(10), (0.2, 0.5, 1.0)):
        values = drawn(seed, 1.0)
        found, means = estimate(values, FOLDS), [values[fold == FOLDS].mean() for fold in range(5)]
        overlap, _ = nadeau_bengio(means, 1 / 4)
        half = max(found.spread.half_width(), overlap.half_width())
        decided.append(found.mean - half > margin)
        assert (beyond(found, means, margin) < 0.05) == decided[-1]
    assert 0 < sum(decided) < len(decided)


def test_holm_multiplies_the_smallest_by_the_number_of_tests() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_a_trend_in_every_fold_is_as_rare_as_counting_says() -> None:
    assert trend([[1, 2, 3]] * 5) == pytest.approx((1 / 6) ** 5)
    assert trend([[3, 2, 1]] * 5) == pytest.approx(1)


def test_seed_noise_is_the_sd_of_a_difference_of_two_trainings() -> None:
    assert seed_noise([[0, 0], [2, 2]]) == pytest.approx(2)
    assert math.isnan(seed_noise([[1, 2]]))


def test_more_seeds_help_only_against_the_noise_of_seeds() -> None:
    patients = np.tile(drawn(0, 0), (2, 1))
    assert seeds_needed(patients, estimate(patients.mean(axis=0), FOLDS), 0.1) is None
    luck = np.random.default_rng(4).normal(size=(3, 5))[:, FOLDS]  # a network per seed and fold
    luck -= luck.mean()
    needed = [
        seeds_needed(luck + effect, estimate(luck.mean(axis=0) + effect, FOLDS), effect) for effect in (2.0, 1.0, 0.9)
    ]
    assert None not in needed
    assert needed == sorted(needed)


def test_ranks_of_rows_far_apart_are_certain() -> None:
    scores = np.array([0.0, 9.0, 5.0])[:, None, None] + np.random.default_rng(0).normal(size=(3, 2, 20)) / 10
    assert rank_stability(scores, np.random.default_rng(0)).tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_ranks_of_equal_chances_are_shared_out() -> None:
    scores = np.random.default_rng(3).normal(size=(2, 3, 40))
    shares = rank_stability(scores, np.random.default_rng(0))
    assert_allclose(shares.sum(axis=0), 1)
    assert_allclose(shares.sum(axis=1), 1)


def test_a_relative_changes_interval_holds_exactly_the_changes_that_the_test_does_not_reject() -> None:
    generator = np.random.default_rng(3)
    others = generator.gamma(2.0, size=30) + 1
    values = 0.8 * others + generator.normal(size=30) / 5
    found = relative_change(values, others, FOLDS)
    assert found.change == pytest.approx(values.mean() / others.mean() - 1)
    for end in (found.low, found.high):
        assert estimate(values - (1 + end) * others, FOLDS).p == pytest.approx(0.05)
    inside, outside = (found.low + found.high) / 2, found.low - 0.01
    assert estimate(values - (1 + inside) * others, FOLDS).p > 0.05
    assert estimate(values - (1 + outside) * others, FOLDS).p < 0.05


@pytest.mark.parametrize("seed", range(20))
def test_a_relative_change_covers_zero_exactly_where_the_difference_does(seed: int) -> None:
    others = np.random.default_rng(seed + 100).gamma(2.0, size=30) + 1
    values = others + drawn(seed, 0.35)
    found = relative_change(values, others, FOLDS)
    assert (found.low <= 0 <= found.high) == (estimate(values - others, FOLDS).p >= 0.05)


def test_a_change_of_what_may_be_zero_has_no_bounds() -> None:
    noise = drawn(0, 0)
    found = relative_change(drawn(1), noise - noise.mean() + 0.01, FOLDS)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_wilcoxons_p_is_scipys_and_one_where_nothing_differs() -> None:
    assert wilcoxon(drawn()) == stats.wilcoxon(drawn()).pvalue
    assert wilcoxon(np.zeros(5)) == 1


def test_wilcoxon_rejects_skewed_differences_whose_mean_is_zero() -> None:
    """Why no verdict rests on it: it tests symmetry."""
    generator = np.random.default_rng(0)
    skewed = [0.5 - generator.gamma(0.5, size=210) for _ in range(200)]
    assert np.mean([wilcoxon(values) < 0.05 for values in skewed]) > 0.5
    assert np.mean([estimate(values, np.arange(210) % 5).p < 0.05 for values in skewed]) < 0.06


def test_what_is_detectable_is_found_in_four_studies_of_five() -> None:
    generator = np.random.default_rng(0)
    effect = np.mean([estimate(generator.normal(size=100), np.arange(100) % 5).detectable for _ in range(200)])
    found = [estimate(effect + generator.normal(size=100), np.arange(100) % 5).p < 0.05 for _ in range(400)]
    assert 0.75 < np.mean(found) < 0.97


def test_the_sum_of_a_mean_is_exact() -> None:
    assert mean_of(np.array([1e16, 1.0, -1e16])) == 1 / 3
