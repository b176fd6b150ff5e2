"""Where should attention stand: in the encoder, in the decoder or in both?"""

from pam.study import Equivalence, Study, Variant, by_level, grid

BLOCKS = ("cscunet", "cbamunet", "gcnunet", "fpa", "rfna")
PLACES = ("encoder", "decoder", "both")
ROWS = tuple(row for block in BLOCKS for row in grid(Variant(block), placement=PLACES))

STUDY = Study(
    question="Should attention stand in the encoder, in the decoder or in both?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=ROWS,
    claims=(
        Equivalence(
            id="placement",
            text="the place changes mean IoU by less than one point",
            levels=by_level(ROWS, "placement"),
            margin=0.01,
        ),
    ),
    columns=("iou", "dice", "hd95", "fn_rate", "parameters", "gflop"),
    caption="Place of the attention blocks.",
)
