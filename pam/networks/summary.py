"""The zoo as a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pam.networks.cost import Images, flop, peak_activation_bytes
from pam.networks.zoo import NETWORKS, names, sketch

IMAGE: Images = (4, 160, 160)  # BRATS: four modalities, the paper's crop
TYPES = ("none", "spatial", "mixed", "self")  # the order of the rows, as in Table 1


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One network at its defaults. What it says of its attention is empty where the network does not tell."""

    name: str
    attention_type: str
    attention_place: str
    parameters: int
    gflop: float  # 10⁹ operations of a forward pass on one image
    activation_mib: float  # peak in training on one float32 image
    source: str


def summarise(name: str, *, image: Images = IMAGE, **options: Any) -> Summary:
    """One network's row, from its structure alone."""
    network = sketch(name, image[0], **options)
    return Summary(
        name=name,
        attention_type=getattr(network, "attention_type", ""),
        attention_place=getattr(network, "attention_place", ""),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        gflop=flop(network, image) / 1e9,
        activation_mib=peak_activation_bytes(network, image) / 2**20,
        source=source(name),
    )


def source(name: str) -> str:
    """What the docstring of the network's function says behind `Source:` and `Differs:`, in one line."""
    text = " ".join((NETWORKS.get(name).__doc__ or "").split())
    found = re.search(r"Source: (?P<source>.+?)\.?(?: Differs: (?:none(?:; |\.|$))?(?P<differs>.*?)\.?)?$", text)
    return "; ".join(part for part in found.groups() if part) if found else ""


def summaries(image: Images = IMAGE) -> list[Summary]:
    """Every registered network's row, by attention type and then size."""

    def key(row: Summary) -> tuple[int, int, str]:
        known = row.attention_type in TYPES
        return TYPES.index(row.attention_type) if known else len(TYPES), row.parameters, row.name

    return sorted((summarise(name, image=image) for name in names()), key=key)


def cells(row: Summary) -> tuple[str, ...]:
    """The row's texts, in the order of `headings`."""
    return (
        row.name,
        row.attention_type or "–",
        row.attention_place if row.attention_place not in ("", "none") else "–",
        f"{row.parameters:,}",
        f"{row.gflop:.2f}",
        f"{row.activation_mib:.0f}",
        row.source,
    )


def headings() -> tuple[str, ...]:
    return ("network", "attention", "place", "parameters", "GFLOP", "MiB", "source")


def as_text(rows: Sequence[Summary]) -> str:
    """Columns aligned for a terminal."""
    table = [headings(), *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(_aligned(texts, widths)).rstrip() for texts in table)


def as_markdown(rows: Sequence[Summary]) -> str:
    """A table for the README; numbers to the right."""
    rule = ("---", "---", "---", "---:", "---:", "---:", "---")
    return "\n".join(f"| {' | '.join(texts)} |" for texts in [headings(), rule, *map(cells, rows)])


def _aligned(texts: Sequence[str], widths: Sequence[int]) -> list[str]:
    numbers = range(3, 6)
    pairs = enumerate(zip(texts, widths, strict=True))
    return [text.rjust(width) if column in numbers else text.ljust(width) for column, (text, width) in pairs]
