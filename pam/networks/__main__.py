"""`python -m pam.networks`: the zoo as a table."""

from __future__ import annotations

from collections.abc import Sequence

from pam import cli
from pam.networks.summary import IMAGE, as_markdown, as_text, summaries

CAPTION = "Per image of {}: GFLOP of a forward pass, peak MiB of activations in training (float32)."


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(prog="python -m pam.networks", description="Print the network zoo.")
    parser.add_argument("--markdown", action="store_true", help="as a Markdown table")
    arguments = parser.parse_args(argv)
    rows = summaries()
    print((as_markdown if arguments.markdown else as_text)(rows))
    print(f"\n{CAPTION.format('×'.join(map(str, IMAGE)))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
