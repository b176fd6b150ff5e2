"""A driver that dies, is stopped, or is one of two; clocks that jump; a checkpoint cut short: nothing changes."""

import shutil
import signal
import struct
import subprocess
from pathlib import Path

import psutil
import pytest

from pam import cli, ledger, manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

CC = shutil.which("cc")
CELLS = 4  # of the study


def test_the_same_command_goes_on_after_ctrl_c_sigterm_and_sigkill(disturbed, same, running):
    for number, code in {
        signal.SIGINT: cli.INTERRUPTED,
        signal.SIGTERM: cli.INTERRUPTED,
        signal.SIGKILL: -signal.SIGKILL,
    }.items():
        disturbed.plan("pause", step=15)  # beyond an epoch's steps: each time there is something to go on from
        process = disturbed.start(*disturbed.part)
        disturbed.until(disturbed.paused)
        assert disturbed.stop(process, number) == code, disturbed.output()
        if code == cli.INTERRUPTED:
            assert not running()
            assert "the same command goes on with them" in disturbed.output()
        disturbed.let_go()
    code, output = disturbed.sweep(*disturbed.part)
    assert code == 0, output
    same(intervals=3)


def test_two_drivers_share_the_cells_train_none_twice_and_one_takes_up_what_the_other_left(disturbed, same):
    disturbed.plan("pause", "pause", "pause", step=15)
    drivers = [disturbed.start(), disturbed.start()]
    disturbed.until((disturbed.folder / "strike-1").exists)  # each of them trains a cell
    disturbed.let_go_once()
    disturbed.until(disturbed.paused)  # the third cell
    disturbed.until(lambda: "waiting for" in disturbed.output())
    trains = {parent.pid for parent in psutil.Process(disturbed.struck(2)).parents()}
    (doomed,) = [driver for driver in drivers if driver.pid in trains]
    (other,) = [driver for driver in drivers if driver is not doomed]
    disturbed.stop(doomed, signal.SIGKILL)
    disturbed.let_go()
    assert disturbed.ended(other) == 0, disturbed.output()
    same(cells=CELLS, intervals=1)


def test_a_checkpoint_cut_short_costs_one_interval_more(disturbed, same):
    disturbed.plan("pause", step=24)  # in the third epoch: two states are kept
    process = disturbed.start(*disturbed.part)
    disturbed.until(disturbed.paused)
    disturbed.stop(process, signal.SIGKILL)
    disturbed.until(disturbed.alone)  # a worker outlives its driver by some seconds
    disturbed.let_go()
    (path,) = [path for path in (disturbed.home / "checkpoints").glob("*.pt") if path.stem.isalnum()]
    assert path.with_suffix(".previous.pt").exists()
    path.write_bytes(path.read_bytes()[:1000])
    # Goes on with what a sweep began, without Ray.
    code, output = disturbed.run("pam.train", "study.py", *disturbed.part)
    assert code == 0, output
    assert f"{path} is damaged" in output
    code, output = disturbed.sync_here()
    assert code == 0, output
    same(intervals=2)


CLOCK = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void) {
    static volatile long *seconds;
    if (!seconds) seconds = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, open(getenv("CLOCK"), O_RDONLY), 0);
    return *seconds;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead();
    return failed;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int failed = syscall(SYS_gettimeofday, now, zone);
    if (!failed) now->tv_sec += ahead();
    return failed;
}
time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.mark.skipif(CC is None, reason="there is no C compiler to build a clock with")
def test_clocks_that_jump_back_and_forth_change_nothing(disturbed, same):
    library, clock = disturbed.folder / "clock.so", disturbed.folder / "clock"
    subprocess.run([CC, "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=CLOCK, text=True, check=True)
    clock.write_bytes(bytes(8))
    disturbed.plan("pause", step=15)
    process = disturbed.start(*disturbed.part, LD_PRELOAD=str(library), CLOCK=str(clock))
    disturbed.until(disturbed.paused)
    jump(clock, -3)
    disturbed.let_go()
    disturbed.until(lambda: "1/2" in disturbed.output())
    jump(clock, 3)
    assert disturbed.ended(process) == 0, disturbed.output()
    same()
    days = {ledger.read(cell["id"]).provenance["started"][:10] for cell in manifest.read("study")["cells"]}
    assert len(days) > 1  # the clocks did jump


def jump(clock: Path, days: int) -> None:
    """Set the clock of every process at once: they have the file mapped."""
    with clock.open("r+b") as file:
        file.write(struct.pack("l", days * 24 * 60 * 60))
