"""Counts read as English."""

from pam.counts import counted


def test_one_is_singular_and_every_other_number_plural():
    assert [counted(number, "cell") for number in (0, 1, 2)] == ["0 cells", "1 cell", "2 cells"]
