"""PAM_HOME in an object store: what is written on one machine is read on another, whole, and once where it is large."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import torch

from pam import cell_log, cells, checkpoints, entries, failures, files, home, ledger, manifest, overview, remote
from pam.data import store as stores
from pam.data.prepare import prepare
from pam.datasets import DATASETS
from pam.errors import DataError, PamError, Unreachable
from pam.study import Study, Variant
from pam.sweep.plan import plan

CPU = torch.device("cpu")
STUDY = Study(
    question="?",
    dataset="phantom",
    reference=Variant("unet", {"width": 2}, label="unet"),
    variants=(),
    folds=2,
    seeds=1,
    recipe={"epochs": 3},
)

SWEPT = """
from pam.study import Study, Variant

STUDY = Study(
    question="Does the storage matter?",
    dataset="phantom",
    reference=Variant("unet", {"width": 2}),
    variants=(),
    folds=2,
    seeds=1,
    recipe={"epochs": 2},
)
"""


@pytest.fixture
def machine(object_store, tmp_path_factory, monkeypatch):
    """Makes the test go on as another machine, which has read nothing of the store."""

    def move() -> None:
        monkeypatch.setenv("PAM_CACHE", str(tmp_path_factory.mktemp("machine")))

    return move


def entry(cell_id: str = "cell", commit: str = "abc") -> ledger.Entry:
    table = pd.DataFrame({"patient": ["p"], "case": ["c"], "slice": [0]})
    epochs = pd.DataFrame({"epoch": [1], "loss": [0.5], "seconds": [1.0]})
    told = {"cell": {"id": cell_id}, "provenance": {"git_commit": commit}}
    return ledger.Entry(**told, slices=table, cases=table, epochs=epochs)


def run(cell, split, store, **options):
    return list(cells.run(cell, store, split, device=CPU, provenance={}, record=ledger.add, **options))


def test_nothing_of_a_home_in_a_folder_is_an_object(pam_home):
    assert remote.key(home.ledger() / "cell") is None
    assert home.address() == str(pam_home)


def test_files_below_home_are_objects_and_hidden_ones_and_those_of_one_machine_are_not(object_store, tmp_path):
    assert remote.key(home.failures() / "cell.json") == "failures/cell.json"
    assert remote.key(home.prepared() / "phantom" / ".partial-x" / "index.npz") is None
    assert remote.key(home.home() / "service" / "service.json") is None
    assert remote.key(tmp_path / "report.html") is None
    assert home.address() == object_store


def test_an_entry_written_on_one_machine_is_read_on_another(machine):
    assert not ledger.has("cell")
    ledger.write(entry())
    machine()
    assert ledger.has("cell")
    assert entries.finished() == {"cell"}
    assert ledger.read("cell").epochs.to_dict("list") == {"epoch": [1], "loss": [0.5], "seconds": [1.0]}
    assert ledger.read_provenance("cell") == {"git_commit": "abc"}
    with pytest.raises(PamError, match="no such entry"):
        ledger.read("other")


def test_an_upload_that_fails_leaves_no_entry(machine, monkeypatch):
    def fails(key, content):
        raise Unreachable("away")

    with monkeypatch.context() as patched:
        patched.setattr(remote, "create", fails)
        with pytest.raises(Unreachable):
            ledger.write(entry())
    assert not ledger.has("cell")
    ledger.write(entry())
    assert ledger.has("cell")


def test_of_many_writers_of_one_entry_one_wins_and_its_entry_is_whole(machine):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ledger.write(entry(commit=str(number))), range(8)))
    first = ledger.read("cell").provenance
    machine()
    assert ledger.read("cell").provenance == first


def test_an_entry_trained_anew_on_another_machine_is_read_anew(machine):
    ledger.write(entry(commit="old"))
    assert ledger.read_provenance("cell") == {"git_commit": "old"}
    ledger.remove("cell")
    assert not ledger.has("cell")
    ledger.write(entry(commit="new"))
    assert ledger.read_provenance("cell") == {"git_commit": "new"}


def test_a_cell_interrupted_on_one_machine_goes_on_on_another_bit_for_bit(machine):
    store = prepare(DATASETS.build("phantom"))
    cell, split = plan(STUDY, store)[0]
    run(cell, split, store)
    undisturbed, weights = ledger.read(cell.id), checkpoints.weights(cell.id)
    ledger.remove(cell.id)
    begun = cells.run(cell, store, split, device=CPU, provenance={}, record=ledger.add, checkpoint_seconds=0)
    assert [next(begun).epoch, next(begun).epoch] == [1, 2]
    begun.close()
    machine()
    assert [epoch.epoch for epoch in run(cell, split, stores.find("phantom"))] == [3]
    assert ledger.read(cell.id).slices.equals(undisturbed.slices)
    assert all(torch.equal(value, weights[name]) for name, value in checkpoints.weights(cell.id).items())
    assert checkpoints.load(cell.id) is None
    events = [line["event"] for line in cell_log.read(cell.id)]
    assert events.count(cell_log.STARTED) == 3, "the log goes on with what the other machine wrote"
    assert events[-1] == cell_log.FINISHED


def test_prepared_data_comes_to_a_machine_once_however_many_ask(machine, monkeypatch):
    prepared = prepare(DATASETS.build("phantom"))
    prepared.folds(2)
    machine()
    fetched, download = [], remote.download
    monkeypatch.setattr(remote, "download", lambda key, path: (fetched.append(key), download(key, path)))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: stores.find("phantom"), range(4)))
    assert {store.hash for store in found} == {prepared.hash}
    assert (found[0].images == prepared.images).all()
    assert sum(key.endswith(stores.IMAGES) for key in fetched) == 1
    assert [split.hash for split in found[0].folds(2)] == [split.hash for split in prepared.folds(2)]


def test_a_half_uploaded_store_is_found_by_nobody(machine, monkeypatch):
    send = files.send

    def stops(path):
        if path.name == stores.MASKS:
            raise KeyboardInterrupt
        send(path)

    monkeypatch.setattr(files, "send", stops)
    with pytest.raises(KeyboardInterrupt):
        prepare(DATASETS.build("phantom"))
    machine()
    with pytest.raises(DataError, match="is not prepared"):
        stores.find("phantom")
    monkeypatch.setattr(files, "send", send)
    assert prepare(DATASETS.build("phantom")).hash == stores.find("phantom").hash


def test_a_record_of_a_failure_is_seen_and_forgotten_everywhere(machine):
    failures.write(failures.Failure(cell={"id": "cell"}, kind=failures.FAILED, epoch=1, message="x"))
    machine()
    assert failures.known() == {"cell"}
    assert failures.read("cell").message == "x"
    failures.forget("cell")
    machine()
    assert failures.known() == set()
    assert failures.read("cell") is None


def test_a_file_found_by_a_pattern_lies_as_deep_as_the_pattern(machine):
    for name in ("small/phantom.json", "small/lgg:target=wt.json", "large/deep/phantom.json"):
        files.write_text(home.studies() / name, "{}")
    assert [path.name for path in files.found(home.studies(), "*/*.json")] == ["lgg:target=wt.json", "phantom.json"]
    assert [path.parent.name for path in files.found(home.studies(), "small/phantom.json")] == ["small"]


def test_a_store_that_is_away_is_told_in_one_line(object_store, monkeypatch):
    monkeypatch.setattr(remote, "RETRY", {"max_retries": 0})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PAM_HOME", "s3://elsewhere/pam")
    with pytest.raises(Unreachable, match=r"docs/storage\.md") as raised:
        overview.studies()
    assert "\n" not in str(raised.value)
    assert files.is_storage(raised.value), "a sweep stops as for a disk that fails"


@pytest.mark.parametrize("address", ["", "minio:9000", "ftp://host", "http://", "http://[bad", "http://me:s3cret@"])
@pytest.mark.parametrize("name", remote.ENDPOINTS)
def test_an_endpoint_that_is_none_is_told_in_one_line_without_its_password(monkeypatch, name: str, address: str):
    monkeypatch.setenv(name, address)
    monkeypatch.setenv("PAM_HOME", "s3://nowhere/pam")
    with pytest.raises(PamError, match=rf"^{name} is '.*'; expected such as https://[^\n]*$") as raised:
        overview.studies()
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("s3://nobody/pam", "no such bucket"),
        ("ftp://me:s3cret@host/pam", r"ftp://me:\*\*\*@host/pam; expected a folder"),
    ],
)
def test_an_address_that_is_none_is_told_in_one_line(object_store, monkeypatch, named, told):
    monkeypatch.setenv("PAM_HOME", named)
    with pytest.raises(PamError, match=told):
        overview.studies()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_on_ray_gives_the_numbers_that_a_home_in_a_folder_gives(machine, one_cpu, tmp_path, monkeypatch):
    (tmp_path / "small.py").write_text(SWEPT)

    def entries_of(module: str, *words: str) -> dict[str, ledger.Entry]:
        command = [sys.executable, "-m", module, "small.py", *words]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=800, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        machine()
        return {cell["id"]: ledger.read(cell["id"]) for cell in manifest.read("small")["cells"]}

    there = entries_of("pam.sweep")
    (study,) = overview.studies()
    assert study.counts["done"] == len(there) == 2
    monkeypatch.setenv("PAM_HOME", str(tmp_path / "folder"))
    here = entries_of("pam.train", "--all")
    assert here.keys() == there.keys()
    for cell_id, entry in here.items():
        assert there[cell_id].slices.equals(entry.slices)
        assert there[cell_id].cases.equals(entry.cases)
        assert list(there[cell_id].epochs.loss) == list(entry.epochs.loss)
