"""What must be known of exported networks to use them and to trust them, as data and in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pam import ledger
from pam.counts import counted
from pam.datasets import DATASETS
from pam.ensemble import THRESHOLD, Ensemble
from pam.networks import size_multiple
from pam.track.shown import aggregate, summarise

SCORES = {
    "patient_dice": "Dice of all of a patient's slices together, mean over patients",
    "dice": "Dice per slice, where target and prediction are not empty",
    "iou": "mean IoU of foreground and background, same slices",
    "hd95_px": "95th percentile of the surface distances in pixels, same slices",
    "fn_rate": "false negatives per positive pixel, same slices",
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """An ensemble, its data and its scores. `scores`: mean, SD and n over cells, each on patients it never saw."""

    study: str
    variant: str
    question: str
    phantom: bool
    dataset: str
    title: str
    target: str
    data_hash: str
    patients: int
    modalities: tuple[str, ...]
    size: tuple[int, int]  # h w of the slices that it was trained on
    size_multiple: int = size_multiple
    zero_outside: bool
    threshold: float = THRESHOLD
    scores: Mapping[str, float]
    cells: tuple[str, ...]
    git_commits: tuple[str, ...]
    tolerance: float | None = None  # what ONNX was found to differ by; None: not exported
    files: tuple[str, ...] = field(default=())

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @property
    def dice(self) -> str:
        """Per patient, with what it is a mean of."""
        spread = self.scores.get("patient_dice_sd")
        plus = "" if spread is None else f" ± {spread:.3f}"
        cells = counted(int(self.scores["n"]), "cell")
        return f"{self.scores.get('patient_dice_mean', float('nan')):.3f}{plus} (SD), n = {cells}"


def describe(networks: Ensemble, manifest: Mapping[str, Any]) -> Card:
    """The card of an ensemble of the study that the manifest is of."""
    cells = tuple(member.cell for member in networks.members)
    data = networks.data
    commits = {str(ledger.read_provenance(cell).get("git_commit", "")) for cell in cells}
    return Card(
        study=manifest["study"],
        variant=networks.variant,
        question=manifest["question"],
        phantom=bool(data["phantom"]),
        dataset=manifest["dataset"],
        title=data["title"],
        target=data.get("target") or DATASETS.build(manifest["dataset"]).target,
        data_hash=data["hash"],
        patients=int(data["patients"]),
        modalities=tuple(data["modalities"]),
        size=networks.size,
        zero_outside=DATASETS.build(manifest["dataset"]).zero_outside,
        scores=aggregate(summarise(ledger.read(cell)) for cell in cells),
        cells=cells,
        git_commits=tuple(sorted(commits - {""})),
    )


def text(card: Card) -> str:
    """The card as a page of Markdown: what it is, how good, how to call it."""
    phantom = "**PHANTOM: trained on images made by pam itself, of no use on patients.**\n\n" if card.phantom else ""
    rows = "".join(_row(name, card.scores) for name in SCORES if f"{name}_mean" in card.scores)
    scores = f"| score | mean | SD | what it is |\n| --- | ---: | ---: | --- |\n{rows}"
    kept = "its voxels of value 0 left out and kept 0" if card.zero_outside else "all of its voxels"
    return f"""# {card.variant}: {card.target} in {card.title}

{phantom}{counted(len(card.cells), "network")} of the study `{card.study}`: {card.question}

Trained and tested on {counted(card.patients, "patient")} of `{card.dataset}` (content hash `{card.data_hash[:16]}`),
each network scored once on patients that it never saw.
Over the n = {counted(int(card.scores["n"]), "cell")} (fold × seed):

{scores}
No clinical use is claimed or tested.

## Input

`images`, float32, b c h w: slices with the channels {", ".join(card.modalities)}, in this order. Of a NIfTI scan these
are axial, the first row posterior, the first column left. Each channel has mean 0 and standard deviation 1 over the
whole scan, {kept}. Height and width are multiples of {card.size_multiple}; training used
{card.size[0]}×{card.size[1]}, the scan's centre. `pam.data.new_case.read` makes them from a case's files.

## Use
{_use(card)}
Cells: {", ".join(f"`{cell}`" for cell in card.cells)}. Commits: {", ".join(card.git_commits) or "unknown"}.
"""


def _use(card: Card) -> str:
    weights = f"""
    import json
    import pam.networks
    from safetensors import safe_open

    with safe_open("{card.cells[0]}.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["pam"])
        network = pam.networks.build(about["network"], about["in_channels"], **about["options"])
        network.load_state_dict({{name: file.get_tensor(name) for name in file.keys()}})
    logits = network.eval()(images)  # of one network, b 1 h w
"""
    if card.tolerance is None:
        return weights
    return f"""
    import onnxruntime

    session = onnxruntime.InferenceSession("ensemble.onnx")
    probability, disagreement = session.run(None, {{"images": images}})  # both b 1 h w
    mask = probability > {card.threshold}

`disagreement` is the standard deviation of the probability over the networks. In onnxruntime the outputs differed from
PyTorch's (float32) by {card.tolerance:.1g} at most when this was exported. One network alone, in PyTorch:
{weights}"""


def _row(name: str, scores: Mapping[str, float]) -> str:
    spread = scores.get(f"{name}_sd")
    shown = "–" if spread is None else f"{spread:.2g}"
    return f"| `{name}` | {scores[f'{name}_mean']:.4g} | {shown} | {SCORES[name]} |\n"
