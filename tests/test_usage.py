import time

import torch

from pam.usage import Meter


def test_a_busy_process_uses_about_a_core_and_an_idle_one_none():
    meter = Meter(torch.device("cpu"))
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    assert meter.read()["cpu_percent"] > 5  # less than 100 where others use the machine
    time.sleep(0.3)
    assert meter.read()["cpu_percent"] < 50


def test_memory_grows_with_what_is_held():
    meter = Meter(torch.device("cpu"))
    before = meter.read()["memory_mb"]
    held = bytearray(b"x" * (100 * 2**20))
    assert meter.read()["memory_mb"] - before > 90
    assert len(held) == 100 * 2**20
