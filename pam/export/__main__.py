"""`python -m pam.export STUDY --variant best -o DIR`: trained networks as ONNX and safetensors, and in MLflow."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pam import cli, ensemble, manifest, study
from pam.counts import counted
from pam.errors import PamError
from pam.export import card, files
from pam.redact import redact
from pam.track.sync import sync
from pam.track.where import tracking_uri


def main(argv: Sequence[str] | None = None) -> int:
    """0 if all is done, 1 if the folder is there but MLflow could not be told."""
    arguments = _parse(argv)
    if arguments.register is not None and arguments.only == files.WEIGHTS:
        raise PamError("--register takes the ONNX file; leave out --only weights")
    files.check_new(arguments.out)
    asked = manifest.read(study.load(arguments.study).name, arguments.dataset)
    networks = ensemble.load(asked, arguments.variant)
    about = card.describe(networks, asked)
    kinds = (arguments.only,) if arguments.only else files.KINDS
    made = files.write(networks, about, arguments.out, kinds)
    phantom = " (PHANTOM: of no use on patients)" if made.phantom else ""
    print(f"{made.variant}: {counted(len(made.cells), 'network')} trained on {made.title}{phantom}; Dice {made.dice}")
    if made.tolerance is not None:
        print(f"{files.GRAPH}: differs from PyTorch by {made.tolerance:.1g} at most, as tried in onnxruntime")
    print(f"{counted(len(made.files), 'file')} in {arguments.out}; {files.PAGE} there tells how to use them")
    return _register(made, arguments) if arguments.register is not None else 0


def _register(made: card.Card, arguments: argparse.Namespace) -> int:
    from pam.track import registered  # noqa: PLC0415  # it imports mlflow

    behind = [told.behind for told in sync([made.study], made.dataset) if told.behind]
    if behind:
        print(f"MLflow is behind ({behind[0]}); the files are there, register them later")
        return 1
    entry = registered.Entry(
        name=arguments.register or registered.name_of(made.study, made.dataset),
        folder=arguments.out.absolute(),
        graph=files.GRAPH,
        channels=len(made.modalities),
        question=made.question,
        description=card.text(made),
        study=made.study,
        dataset=made.dataset,
        cells=made.cells,
        tags={
            "pam.variant": made.variant,
            "pam.data_hash": made.data_hash,
            "pam.phantom": str(made.phantom),
            "pam.patient_dice": made.dice,
            "pam.patients": str(made.patients),
            "pam.git_commits": " ".join(made.git_commits),
        },
        scores=made.scores,
        alias=ensemble.BEST if arguments.variant == ensemble.BEST else "",
    )
    version, new = registered.register(entry)
    state = "registered" if new else "there already, with these networks"
    print(f"models:/{entry.name}/{version}: {state}; MLflow: {redact(tracking_uri())}")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(
        prog="python -m pam.export", description="Export a study's trained networks as ONNX and safetensors."
    )
    parser.add_argument("study", help="a study's name, or the path of its file")
    parser.add_argument(
        "--variant",
        default=ensemble.BEST,
        help="the row to export: its name or words of it (default: best, the highest Dice per patient)",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="a new folder to write")
    parser.add_argument("--dataset", help="the data set that was swept (default: the one swept last)")
    parser.add_argument("--only", choices=files.KINDS, help="write ONNX alone, or the weights (safetensors) alone")
    parser.add_argument(
        "--register",
        nargs="?",
        const="",
        metavar="NAME",
        help="also make it a version of a model in MLflow's registry (default: named after study and data set)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main)
