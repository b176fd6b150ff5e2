"""`python -m pam.receptive_fields NETWORK … --cell ID …`: how far each branch looks, at first and after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pam import cli, field_report, files, networks
from pam.errors import StudyError
from pam.networks.receptive_field import receptive_fields
from pam.trained import trained


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network to look into; `name` is for files, `title` for readers."""

    name: str
    title: str
    network: nn.Module
    in_channels: int


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(prog="python -m pam.receptive_fields", description="Measure effective receptive fields.")
    parser.add_argument("networks", nargs="*", help="networks by name, measured at initialisation")
    parser.add_argument("--cell", action="append", default=[], help="a finished cell's id: its network after training")
    parser.add_argument("--width", type=int, default=32, help="of the networks by name (default: 32)")
    parser.add_argument("--channels", type=int, default=4, help="of the networks by name (default: 4)")
    parser.add_argument("--size", type=int, default=160, help="height and width of the inputs (default: 160)")
    parser.add_argument("--inputs", type=int, default=8, help="how many random inputs (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("reports/receptive_fields"), help="folder for the results")
    arguments = parser.parse_args(argv)
    first = {"in_channels": arguments.channels, "width": arguments.width, "seed": arguments.seed}
    subjects = [at_initialisation(name, **first) for name in arguments.networks]
    subjects += [after_training(cell_id) for cell_id in arguments.cell]
    if not subjects:
        raise StudyError(f"nothing to measure: name networks ({', '.join(networks.names())}) or give --cell ID")
    print(measure(subjects, size=arguments.size, inputs=arguments.inputs, seed=arguments.seed, out=arguments.out))
    return 0


def at_initialisation(name: str, *, in_channels: int, width: int, seed: int) -> Subject:
    """A network by name with its first weights."""
    network = networks.build(name, in_channels, generator=torch.Generator().manual_seed(seed), width=width)
    title = f"{name}, width {width}, at initialisation"
    return Subject(name=files.portable_name(name), title=title, network=network, in_channels=in_channels)


def after_training(cell_id: str) -> Subject:
    """A finished cell's network. Raises as `trained`."""
    found = trained(cell_id)
    cell, data = found.entry.cell, found.entry.provenance["data"]
    title = f"{cell['label']}, trained on {data['title']}{' (PHANTOM)' if data['phantom'] else ''}, cell {cell_id}"
    name = files.portable_name(f"{cell['network']}_{cell_id}")
    return Subject(name=name, title=title, network=found.network, in_channels=found.in_channels)


def measure(subjects: Sequence[Subject], *, size: int, inputs: int, seed: int, out: Path) -> str:
    """Write table.md, table.csv and a figure per subject to `out`; the table as Markdown."""
    fields = {}
    for subject in subjects:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(inputs, subject.in_channels, size, size, generator=generator)
        fields[subject.title] = receptive_fields(subject.network, images, generator)
        field_report.draw(fields[subject.title], subject.title, out, subject.name)
    table = field_report.markdown(fields, f"{inputs} inputs of {size}×{size} pixels, standard normal, seed {seed}.")
    files.write_text(out / "table.md", table)
    files.write_text(out / "table.csv", field_report.comma_separated(fields))
    return table


if __name__ == "__main__":
    cli.run(main)
