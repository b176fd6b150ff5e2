"""`python -m pam.train STUDY --cells ID …`: train cells in this process. Needs only torch, numpy and scipy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pam import checkpoints, cli, files, home, manifest, provenance
from pam.counts import counted
from pam.data.folds import Split
from pam.errors import PamError, StudyError
from pam.study import Cell
from pam.sweep import local, request
from pam.sweep.request import Asked
from pam.train import Epoch


def main(argv: Sequence[str] | None = None) -> int:
    """Train, or list, the cells; 1 if one diverged."""
    arguments = _parse(argv)
    if arguments.cpus < 1:
        raise PamError(f"--cpus is {arguments.cpus}; expected a whole number from 1")
    asked = request.resolve(request.of(arguments))
    record, carried = local.recorder(arguments.carry, home.carried())
    waiting = carried or home.carried()
    if arguments.list:
        print("\n".join(_line(cell, waiting) for cell in asked.cells))
        return 0
    chosen = _chosen(asked, arguments)
    missing = [(cell, split) for cell, split in chosen if not local.done(cell.id, waiting)]
    if missing:
        for folder in (home.checkpoints(), home.leases(), *([] if carried else [home.ledger()])):
            files.check_writable(folder)
    if missing and carried:
        files.check_writable(carried, otherwise="name another folder with --carry")
    cells = [cell for cell, _ in chosen]
    manifest.write(
        asked.study,
        asked.store,
        cells,
        asked.declared,
        split=asked.split,
        settings=asked.settings,
        demo=asked.demo,
    )
    progress = _Progress(len(missing))
    diverged = local.train(
        missing,
        asked.store,
        cpus=arguments.cpus,
        provenance=provenance.collect(),
        record=record,
        on_epoch=progress.epoch,
    )
    print(_summary(asked, chosen, missing, diverged, carried))
    return 1 if diverged else 0


def _chosen(asked: Asked, arguments: argparse.Namespace) -> list[tuple[Cell, Split]]:
    """The cells to train. Raises `StudyError` if none were named, or one that there is not."""
    if arguments.cells is None:
        if not (arguments.all or arguments.folds or arguments.seeds or arguments.only):
            raise StudyError("no cells named: give --cells ID …, --folds, --seeds, --only or --all; --list shows them")
        return asked.planned
    known = {cell.id: (cell, split) for cell, split in asked.planned}
    unknown = [cell_id for cell_id in arguments.cells if cell_id not in known]
    if unknown:
        raise StudyError(
            f"--cells {unknown[0]}: no cell of study {asked.study.name!r} on {asked.store.dataset} with these "
            "settings; --list shows them"
        )
    return [known[cell_id] for cell_id in dict.fromkeys(arguments.cells)]


def _line(cell: Cell, carried: Path) -> str:
    begun = files.exists(checkpoints.state_path(cell.id))
    state = "done" if local.done(cell.id, carried) else "begun" if begun else "to do"
    return f"{cell.id}  {state:<5}  {cell.label}, fold {cell.fold}, seed {cell.seed}"


def _summary(
    asked: Asked,
    chosen: list[tuple[Cell, Split]],
    missing: list[tuple[Cell, Split]],
    diverged: dict[str, str],
    carried: Path | None,
) -> str:
    what, trained = f"{asked.study.name} on {asked.store.label}", len(missing) - len(diverged)
    lines = [f"{what}: {counted(trained, 'cell')} trained, {len(chosen) - len(missing)} done already, of {len(chosen)}"]
    lines += [f"failed: {_name(cell)}: {diverged[cell.id]}" for cell, _ in missing if cell.id in diverged]
    if carried is not None:
        lines.append(f"results in {carried}; into a ledger: python -m pam.track import {carried}")
    return "\n".join(lines)


def _name(cell: Cell) -> str:
    return f"{cell.label}, fold {cell.fold}, seed {cell.seed}"


class _Progress:
    """Each epoch on one line that is written over, on a terminal; else the last epoch of each cell."""

    def __init__(self, cells: int) -> None:
        self._cells = cells
        self._seen: dict[str, int] = {}

    def epoch(self, cell: Cell, epoch: Epoch) -> None:
        number = self._seen.setdefault(cell.id, len(self._seen) + 1)
        last = epoch.epoch == epoch.of
        line = (
            f"{number}/{self._cells} {_name(cell)}: epoch {epoch.epoch} of {epoch.of}, loss {epoch.loss:.4f}, "
            f"{epoch.seconds:.1f} s"
        )
        if sys.stdout.isatty():
            print(f"\r\033[K{line}", end="\n" if last else "", flush=True)
        elif last:
            print(line, flush=True)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m pam.train", description="Train cells of a study in this process, without Ray.")
    request.add_arguments(parser)
    parser.add_argument("--cells", nargs="+", metavar="ID", help="the cells to train")
    parser.add_argument("--all", action="store_true", help="every cell of the study")
    parser.add_argument("--list", action="store_true", help="print the cells' ids, train nothing")
    parser.add_argument("--cpus", type=int, default=1, help="threads; 1, as in a sweep, for the sweep's very bits")
    parser.add_argument(
        "--carry",
        type=Path,
        metavar="DIR",
        help="write results here, to be carried to another machine, not to the ledger (the default without pandas)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main)
