"""Nothing that is read as data runs as code, and no secret is shown."""

import ast
import json
import logging
from pathlib import Path

import pytest

from pam import failures, track
from pam.cells import describe
from pam.data.splits import from_nnunet
from pam.datasets.layout import inside
from pam.errors import DataError, ResultsError
from pam.study import Cell
from pam.sweep import preflight
from pam.sweep.disk import Budget
from pam.sweep.events import Events
from pam.sweep.gauges import Gauges
from pam.sweep.progress import SweepProgress
from pam.track.reader import Reader

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "pam").rglob("*.py"))
SECRET = "s3cret-w0rd"

# Calls that run what they read, unless the keyword argument says otherwise.
ALWAYS = {
    "pickle.load",
    "pickle.loads",
    "cloudpickle.load",
    "cloudpickle.loads",
    "eval",
    "exec",
    "yaml.load",
    "os.system",
}
UNLESS = {"torch.load": ("weights_only", True)}
NEVER_WITH = {"allow_pickle": True, "shell": True}


def calls(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            constants = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            yield node.lineno, ast.unparse(node.func), constants


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_read_in_a_way_that_runs_it(path):
    for line, name, constants in calls(path):
        where = f"{path.name}:{line}: {name}"
        assert name not in ALWAYS, where
        if name in UNLESS:
            keyword, value = UNLESS[name]
            assert constants.get(keyword) is value, where
        assert not NEVER_WITH.items() & constants.items(), where


def test_the_check_of_calls_sees_them(tmp_path):
    (tmp_path / "bad.py").write_text("import torch\ntorch.load(p)\neval(x)\nnp.load(p, allow_pickle=True)\n")
    found = {name: constants for _, name, constants in calls(tmp_path / "bad.py")}
    assert found == {"torch.load": {}, "eval": {}, "np.load": {"allow_pickle": True}}


@pytest.mark.parametrize("name", ["../x.nii", "a/../../x.nii", "/etc/passwd", "..", "", "a\\..\\b"])
def test_a_data_set_cannot_name_a_file_outside_its_folder(name, tmp_path):
    with pytest.raises(DataError, match="expected paths below"):
        inside(tmp_path, name, tmp_path / "dataset.json")


def test_a_data_set_may_name_links_and_files_below_its_folder(tmp_path):
    elsewhere = tmp_path / "elsewhere.nii"
    elsewhere.touch()
    source = tmp_path / "source"
    source.mkdir()
    (source / "link.nii").symlink_to(elsewhere)
    assert inside(source, "./link.nii", source).is_file()
    assert inside(source, "imagesTr/a..b.nii", source) == source / "imagesTr" / "a..b.nii"


def test_splits_name_cases_that_are_known_and_never_paths():
    text = json.dumps([{"train": ["a"], "val": ["../../b"]}])
    with pytest.raises(DataError, match="b"):
        from_nnunet(text, {"a": "a", "b": "b"})


def test_a_password_in_the_tracking_uri_is_shown_nowhere(monkeypatch, caplog, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    caplog.set_level(logging.DEBUG, logger="pam")
    assert SECRET not in track.ui_hint()
    cell = Cell(label="unet", network="unet", options={}, recipe={}, fold=0, seed=0, data_hash="d", split_hash="s")
    said = {"study": "s", "question": "?", "dataset": "phantom", "title": "t", "phantom": True, "demo": False}
    asked = said | {"settings": {}, "folds": 2, "seeds": 1, "data_hash": "d", "cells": [describe(cell)]}
    mirror = track.Mirror(asked)
    mirror.refresh(cell.id)
    mirror.close(patience=0)
    assert "127.0.0.1:9" in mirror.behind
    for shown in (mirror.behind, caplog.text, *capsys.readouterr()):
        assert SECRET not in shown


def test_preflight_and_reader_name_a_servers_address_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://me:{SECRET}@127.0.0.1:9"
    (line,) = preflight._mlflow(uri)
    with pytest.raises(ResultsError) as raised:
        Reader(uri).experiments("small")
    for shown in (line, str(raised.value)):
        assert "http://me:***@127.0.0.1:9" in shown
        assert SECRET not in shown


def test_a_failed_cells_record_keeps_no_password(pam_home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{pam_home}/mlflow.db")
    cell = Cell(label="unet", network="unet", options={}, recipe={}, fold=0, seed=0, data_hash="d", split_hash="s")
    said = {"study": "s", "question": "?", "dataset": "phantom", "title": "t", "phantom": True, "demo": False}
    asked = said | {"settings": {}, "folds": 2, "seeds": 1, "data_hash": "d", "cells": [describe(cell)]}
    mirror = track.Mirror(asked)
    with SweepProgress({cell.id: cell}) as progress:
        events = Events(
            {cell.id: cell},
            progress,
            mirror,
            provenance={},
            allowed=1,
            budget=Budget(None, [], running_mb=0),
            gauges=Gauges("s", "phantom"),
        )
        events.on_failed(cell.id, RuntimeError(f"no answer\npostgresql://me:{SECRET}@db is away"))
    mirror.close()
    record = failures.path_of(cell.id).read_text()
    assert "postgresql://me:***@db is away" in record
    written = [path for path in pam_home.rglob("*") if path.is_file()]
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
