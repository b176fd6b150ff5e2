"""Networks from outside this project: of an installed package, or a user's `module:function`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pam import cells, ledger, networks
from pam.cli import guarded
from pam.data.folds import Split
from pam.data.prepare import prepare
from pam.data.store import Store
from pam.datasets import DATASETS
from pam.errors import StudyError
from pam.networks.summary import summarise
from pam.receptive_fields import main as receptive_fields
from pam.source import source_hash
from pam.study import Cell, Study, Variant
from pam.sweep.__main__ import main as sweep
from pam.sweep.plan import apply_settings, plan
from pam.train import Epoch

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = "from torch import nn\n\n\ndef conv(inputs, outputs):\n    return nn.Conv2d(inputs, outputs, 3, padding=1)\n"
NETWORKS = """
import torch
from torch import nn

from my_blocks import conv


def tiny(in_channels, *, width=2, logits=1):
    \"\"\"Two convolutions. Source: me (2026).\"\"\"
    last = conv(width, logits)
    nn.init.zeros_(last.bias)
    return nn.Sequential(conv(in_channels, width), nn.PReLU(), nn.Dropout(0.5), last)


def staged(in_channels, *, widths=(2, 3), rate=None):
    chances = [chance.item() for chance in torch.linspace(0, 0.5, len(widths))]  # impossible on the meta device
    return nn.Sequential(conv(in_channels, widths[0]), nn.Dropout(chances[1]), conv(widths[0], 1))


def nothing(in_channels):
    return None


def blend(logits, target):
    return (logits.sigmoid() - target).square().mean()
"""
STUDY = Study(
    question="Mine?",
    dataset="phantom",
    reference=Variant("unet", {"width": 2}),
    variants=(Variant("my_networks:tiny"),),
    folds=2,
    seeds=1,
    recipe={"epochs": 1},
)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with modules of the user's, from which a command is run."""
    (tmp_path / "my_blocks.py").write_text(BLOCKS)
    (tmp_path / "my_networks.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    forget()


def forget() -> None:
    """What a new process would not know."""
    source_hash.cache_clear()
    for name in ("my_blocks", "my_networks"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAM_HOME", str(tmp_path_factory.mktemp("store")))
        return prepare(DATASETS.build("phantom"))


def train(cell: Cell, split: Split, store: Store) -> Iterator[Epoch]:
    return cells.run(
        cell, store, split, device=torch.device("cpu"), provenance={}, record=ledger.add, checkpoint_seconds=0
    )


def of(variant: Variant) -> Study:
    return replace(STUDY, reference=variant, variants=())


def test_it_keeps_its_own_first_weights_which_the_generator_decides(mine):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again = (
        networks.build("my_networks:tiny", 4, generator=torch.Generator().manual_seed(5), width=3) for _ in range(2)
    )
    other = networks.build("my_networks:tiny", 4, generator=torch.Generator().manual_seed(6), width=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items())
    assert not torch.equal(first[0].weight, other[0].weight)
    assert not first[3].bias.any() and first[0].bias.any()


def test_an_edit_of_its_code_makes_new_cells_of_it_alone(mine, store):
    reference, before = (cell for cell, split in plan(STUDY, store, folds=[0]))
    assert not reference.code and before.code.keys() == {"my_networks:tiny"}
    (mine / "my_blocks.py").write_text(BLOCKS.replace("3, padding=1", "5, padding=2"))
    forget()
    same, after = (cell for cell, split in plan(STUDY, store, folds=[0]))
    assert same.id == reference.id
    assert after.id != before.id
    (mine / "my_blocks.py").write_text(BLOCKS)
    forget()
    assert [cell.id for cell, split in plan(STUDY, store, folds=[0])] == [reference.id, before.id]


def test_a_users_loss_is_part_of_the_cells_that_use_it(mine, store):
    own = replace(STUDY, recipe={"epochs": 1, "loss": "my_networks:blend"})
    assert [sorted(cell.code) for cell, split in plan(own, store, folds=[0])] == [
        ["my_networks:blend"],
        ["my_networks:blend", "my_networks:tiny"],
    ]


def test_a_cell_whose_code_was_edited_after_it_was_planned_is_refused(mine, store):
    (_, (cell, split)) = plan(STUDY, store, folds=[0])
    (mine / "my_networks.py").write_text(NETWORKS + "# an edit\n")
    forget()
    with pytest.raises(StudyError, match="the source of my_networks:tiny was edited since it was planned"):
        next(train(cell, split, store))


def test_its_dropout_is_a_function_of_the_cell_also_after_an_interrupt(mine, store):
    ((cell, split),) = plan(replace(of(Variant("my_networks:tiny")), recipe={"epochs": 2}), store, folds=[0])
    torch.manual_seed(1)
    undisturbed = [epoch.loss for epoch in train(cell, split, store)]
    ledger.remove(cell.id)
    torch.manual_seed(2)
    interrupted = train(cell, split, store)
    assert next(interrupted).loss == undisturbed[0]
    interrupted.close()
    torch.manual_seed(3)
    assert [epoch.loss for epoch in train(cell, split, store)] == undisturbed[1:]


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        (Variant("unet", {"out_channels": 2}), r"'unet' with options .* returned \(1, 2, 48, 48\) for one image"),
        (Variant("my_networks:tiny", {"logits": 2}), r"expected foreground logits of shape \(1, 1, 48, 48\)"),
        (Variant("my_networks:nothing"), r"'my_networks:nothing' returned NoneType; expected a torch.nn.Module"),
        (Variant("my_networks:staged", {"rate": torch.tensor(1)}), "Tensor is not JSON serializable"),
    ],
)
def test_what_cannot_be_trained_is_found_before_any_cell_starts(mine, store, variant, said):
    with pytest.raises(StudyError, match=said):
        plan(of(variant), store)


def test_it_may_take_lists_and_real_numbers(mine, store):
    study = apply_settings(of(Variant("my_networks:staged", {"widths": [3, 4]})), {"rate": 0.5})
    ((cell, _),) = plan(study, store, folds=[0])
    assert cell.options == {"widths": [3, 4], "rate": 0.5}
    assert cells.gflop(cell, (4, 48, 48)) == round(2 * 9 * (4 * 3 + 3 * 1) * 48 * 48 / 1e9, 4)
    assert summarise("my_networks:staged", widths=[3, 4]).parameters == 9 * (4 * 3 + 3 * 1) + 3 + 1


def test_a_trained_one_is_not_looked_into_with_other_code(mine, store, tmp_path, capsys):
    (_, (cell, split)) = plan(STUDY, store, folds=[0])
    assert len(list(train(cell, split, store))) == 1
    command = ["--cell", cell.id, "--size", "16", "--inputs", "1", "--out", str(tmp_path / "out")]
    assert guarded(receptive_fields, command) == 0
    assert (tmp_path / "out" / f"my_networks.tiny_{cell.id}.png").exists()
    assert ledger.read(cell.id).cell["code"] == cell.code
    (mine / "my_networks.py").write_text(NETWORKS + "# an edit\n")
    forget()
    assert guarded(receptive_fields, command) == 2
    assert f"cell {cell.id}: the source of my_networks:tiny was edited since it was trained" in capsys.readouterr().err


def pam(folder: Path, *words: str) -> str:
    """What `pam …` prints, the console script, run in the folder."""
    script = Path(sys.executable).with_name("pam")
    found = subprocess.run([script, *words], cwd=folder, capture_output=True, text=True, check=False, env=environment())
    assert found.returncode == 0, found.stderr
    return found.stdout


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_sweep_from_the_users_folder_finds_it_in_rays_workers_too(
    mine, tmp_path, pam_home, new_home, monkeypatch, capsys
):
    new_home(pam_home)
    (tmp_path / "tune_spaces").mkdir()
    (tmp_path / "tune_spaces" / "mine.py").write_text(
        "from pam.study import Study, Variant\n\n"
        "STUDY = Study(question='Mine?', dataset='phantom', reference=Variant('my_networks:tiny'), variants=(),\n"
        "    folds=2, seeds=1, recipe={'epochs': 1})\n"
    )
    assert "1 cell trained, 0 done already, of 1" in pam(tmp_path, "sweep", "mine", "--folds", "0")
    monkeypatch.chdir(tmp_path)
    assert guarded(sweep, ["mine", "--folds", "0"]) == 0
    assert "all done already (1 cell)" in capsys.readouterr().out


def test_an_installed_package_adds_its_network_to_the_zoo(tmp_path):
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pam.networks]\ntheirs = my_networks:tiny\n")
    (tmp_path / "my_blocks.py").write_text(BLOCKS)
    (tmp_path / "my_networks.py").write_text(NETWORKS)
    printed = pam(tmp_path, "networks", "--markdown")
    assert "| theirs | – | – | 94 |" in printed and "| me (2026) |" in printed
    assert sum(line.startswith("|") for line in printed.splitlines()) == 2 + len(networks.names()) + 1
