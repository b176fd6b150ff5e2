import sys

import numpy as np
import pytest
import torch

from pam.memory import out_of_gpu_memory, peak_mb, reset_peak


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


def test_a_full_gpu_is_told_from_other_errors_however_cuda_puts_it():
    full = [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ]
    assert all(map(out_of_gpu_memory, full))
    others = [RuntimeError("CUDA error: an illegal memory access was encountered"), MemoryError(), ValueError("x")]
    assert not any(map(out_of_gpu_memory, others))
