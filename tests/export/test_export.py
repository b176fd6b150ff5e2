"""A study's networks as files and in MLflow's registry, as a user exports them; they are trained here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
import pytest
import torch
from mlflow.tracking import MlflowClient
from safetensors import safe_open

from pam import cli, ledger, manifest, networks
from pam.export.__main__ import main as export
from pam.train.__main__ import main as train

STUDY = """
from pam.study import Study, Variant

STUDY = Study(
    question="Small?",
    dataset="phantom",
    reference=Variant("unet", {"width": 2}),
    variants=(),
    folds=2,
    seeds=1,
    recipe={"epochs": 1},
)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    (folder / "small.py").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAM_HOME", str(folder / "home"))
        assert cli.guarded(train, [str(folder / "small.py"), "--all"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAM_HOME", str(home / "home"))
    monkeypatch.chdir(home)


def run(*words: object) -> int:
    return cli.guarded(export, ["small.py", *map(str, words)])


def read(path: Path) -> torch.nn.Module:
    """A network from its file alone, as the export's README says."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["pam"])
        network = networks.build(about["network"], about["in_channels"], **about["options"])
        network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # no dictionary
    return network.eval()


def test_the_export_is_complete_registered_once_and_loads_from_the_registry(home, tmp_path, capsys, monkeypatch):
    assert run("-o", tmp_path / "out", "--register") == 0
    cells = sorted(cell["id"] for cell in manifest.read("small")["cells"])
    expected = {"README.md", "model.json", "ensemble.onnx", *(f"{cell}.safetensors" for cell in cells)}
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected

    images = np.random.default_rng(0).standard_normal((3, 4, 56, 48), np.float32)
    with torch.inference_mode():
        each = [read(tmp_path / "out" / f"{cell}.safetensors")(torch.from_numpy(images)).sigmoid() for cell in cells]
    mean = torch.stack(each).mean(0).numpy()
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "ensemble.onnx"), providers=["CPUExecutionProvider"])
    assert np.abs(session.run(["probability"], {"images": images})[0] - mean).max() < 1e-4

    card = json.loads((tmp_path / "out" / "model.json").read_text())
    assert sorted(card["cells"]) == cells
    assert card["data_hash"] == ledger.read_provenance(cells[0])["data"]["hash"]
    dice = [ledger.read(cell).cases.dice.mean() for cell in cells]
    assert card["scores"]["n"] == 2
    assert card["scores"]["patient_dice_mean"] == pytest.approx(np.mean(dice))
    assert "PHANTOM" in (tmp_path / "out" / "README.md").read_text()

    capsys.readouterr()
    assert run("-o", tmp_path / "again", "--register") == 0
    assert "models:/small-phantom/1: there already" in capsys.readouterr().out
    uri = f"sqlite:///{home / 'home' / 'mlflow' / 'mlflow.db'}"
    client = MlflowClient(uri)
    [version] = client.search_model_versions("name = 'small-phantom'")
    assert version.tags["pam.cells"] == " ".join(cells)
    assert version.tags["pam.data_hash"] == card["data_hash"]
    assert version.tags["pam.patient_dice"].endswith("(SD), n = 2 cells")
    assert "PHANTOM" in version.description
    assert client.get_model_version_by_alias("small-phantom", "best").version == version.version
    assert "pam.variant" in client.get_run(version.run_id).data.tags
    with monkeypatch.context() as patch:  # not mlflow's own setter: it also sets the variable, for good
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        loaded = mlflow.pyfunc.load_model("models:/small-phantom@best")
    assert np.abs(loaded.predict(images)["probability"] - mean).max() < 1e-4


def test_weights_alone_need_nothing_of_onnx(tmp_path, monkeypatch):
    for library in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, library, None)
    assert run("-o", tmp_path / "out", "--only", "weights") == 0
    assert not list((tmp_path / "out").glob("*.onnx"))
    assert json.loads((tmp_path / "out" / "model.json").read_text())["tolerance"] is None
    assert "onnxruntime" not in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--variant", "fpa"], "'fpa' fits no row with results; expected best or one of: unet width=2"),
        (["--dataset", "lgg"], "has no results under"),
        (["--register", "--only", "weights"], "--register takes the ONNX file"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(words, message, tmp_path, capsys):
    assert run("-o", tmp_path / "out", *words) == cli.BAD_INPUT
    _, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_onnx_the_error_says_what_to_install_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert run("-o", tmp_path / "out") == cli.BAD_INPUT
    assert "pip install 'pam-ablation[onnx]'; or --only weights" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, capsys):
    (tmp_path / "kept.txt").write_text("mine")
    assert run("-o", tmp_path) == cli.BAD_INPUT
    assert "exists and is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
