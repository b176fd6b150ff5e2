"""A lease has one owner at a time, survives no owner's death for long, and never blocks for ever."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pam import files, home, leases
from pam.leases import Busy, Watch


@pytest.fixture(autouse=True, params=["folder", "store"])
def _home_of_either_kind(request):
    """Leases are files of a folder, or objects of a store."""
    if request.param == "store":
        request.getfixturevalue("object_store")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def held_elsewhere(name: str = "cell", number: int = 1, beat: int = 0) -> Path:
    """A lease whose owner runs on another machine."""
    path = home.leases() / name / str(number)
    told = {"beat": f"{beat:012d}", "owner": "other", "host": "far", "pid": 1, "machine": "far", "process": "1"}
    files.write_text(path, json.dumps(told))
    return path


def test_a_lease_is_taken_once_and_given_back():
    with Watch("a").take("cell"):
        with pytest.raises(Busy, match=f"process {os.getpid()} on "):
            Watch("b").take("cell")
        assert str(os.getpid()) in Watch("b").holder("cell")
    assert Watch("b").holder("cell") == ""
    assert leases.names() == set()
    with Watch("b").take("cell"):
        pass


def test_of_many_that_ask_at_once_one_gets_it():
    def ask(number: int) -> leases.Lease | None:
        try:
            return Watch(f"owner {number}").take("cell")
        except Busy:
            return None

    with ThreadPoolExecutor(16) as pool:
        for _ in range(20):
            got = [lease for lease in pool.map(ask, range(16)) if lease]
            assert len(got) == 1
            got[0].release()


def test_an_owner_that_died_on_this_machine_is_known_at_once():
    program = (
        "import time\nfrom pam import leases\n"
        "with leases.Watch('a').take('cell'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert Watch("b").holder("cell") != ""
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Watch("b").holder("cell") == ""
    with Watch("b").take("cell") as lease:
        lease.check()


def test_what_owners_given_up_have_left_is_cleared_and_nothing_else():
    clock = Clock()
    watch = Watch("a", clock=clock)
    held_elsewhere("run-lost")
    held_elsewhere("cell-lost")
    watch.clear("run-")
    assert leases.names() == {"run-lost", "cell-lost"}  # its owner may live
    clock.now += leases.LEASE + 1
    with watch.take("run-mine"), Watch("b").take("run-theirs"):
        watch.clear("run-")
        assert leases.names() == {"cell-lost", "run-mine", "run-theirs"}


def test_an_owner_elsewhere_is_given_up_after_it_was_silent_for_the_whole_lease():
    clock = Clock()
    watch = Watch("b", clock=clock)
    path = held_elsewhere()
    assert watch.holder("cell") == "process 1 on far"
    clock.now += leases.LEASE - 1
    held_elsewhere(beat=1)  # it lives
    assert watch.holder("cell") != ""
    clock.now += leases.LEASE - 1
    assert watch.holder("cell") != ""
    clock.now += 2
    assert watch.holder("cell") == ""
    watch.take("cell").release()
    assert not files.exists(path)


@pytest.mark.parametrize("days", [-3650, 3650])
def test_a_file_time_in_the_future_or_past_does_not_matter(days):
    path = held_elsewhere()
    if files.is_remote(path):
        pytest.skip("a store's own clock dates its objects, and no lease reads them")
    moment = time.time() + days * 86400
    os.utime(path, (moment, moment))
    clock = Clock()
    watch = Watch("b", clock=clock)
    assert watch.holder("cell") != ""
    clock.now += leases.LEASE + 1
    assert watch.holder("cell") == ""


def test_two_that_give_an_owner_up_do_not_both_take_over():
    clock = Clock()
    held_elsewhere()
    watches = [Watch(owner, clock=clock) for owner in ("b", "c")]
    assert all(watch.holder("cell") for watch in watches)
    clock.now += leases.LEASE + 1
    first = watches[0].take("cell")
    with pytest.raises(Busy):
        watches[1].take("cell")
    first.check()


def test_an_owner_that_was_given_up_but_lives_finds_out_before_it_writes():
    clock = Clock()
    with Watch("a").take("cell") as slow:
        watch = Watch("b", clock=clock)
        watch.holder("cell")
        clock.now += leases.LEASE + 1
        with watch.take("cell") as taken:
            with pytest.raises(Busy, match="took it over"):
                slow.check()
            taken.check()


def test_an_owners_own_lease_is_given_anew():
    first = Watch("sweep").take("cell")
    second = Watch("sweep").take("cell")
    second.check()
    with pytest.raises(Busy):
        first.check()


def test_a_lease_lives_while_its_owner_does(monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.01)
    with Watch("a").take("cell"):
        watch = Watch("b")
        seen = {watch.look("cell").content for _ in range(20) if not time.sleep(0.02)}
    assert len(seen) > 3
    assert len({len(content) for content in seen}) == 1


def test_a_half_written_lease_is_held_until_it_was_silent_for_long():
    files.write_text(held_elsewhere(), '{"owner"')
    clock = Clock()
    watch = Watch("b", clock=clock)
    assert watch.holder("cell") != ""
    clock.now += leases.LEASE + 1
    assert watch.holder("cell") == ""


def test_waiting_ends_when_the_lease_is_given_back():
    lease = Watch("a").take("cell")
    threading.Timer(0.3, lease.release).start()
    with Watch("b").wait("cell") as mine:
        mine.check()


def test_leases_that_come_and_go_while_their_names_are_read_do_no_harm():
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            Watch("a").take("cell").release()

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(come_and_go)
        assert {name for _ in range(200) for name in leases.names()} <= {"cell"}
        over.set()
        coming.result()
