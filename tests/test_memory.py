import sys

import numpy as np
import pytest

from pam.memory import peak_mb, reset_peak


def test_the_peak_holds_what_was_there_and_is_gone():
    reset_peak()  # an earlier test's peak may be higher than what this one takes
    before = peak_mb()
    np.ones(100 * 2**20, np.uint8)
    assert peak_mb() >= before + 50


@pytest.mark.skipif(sys.platform != "linux", reason="the peak can be reset on Linux only")
def test_a_reset_forgets_an_earlier_peak():
    np.ones(200 * 2**20, np.uint8)
    high = peak_mb()
    reset_peak()
    assert peak_mb() < high - 100
