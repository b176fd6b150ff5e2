"""Figure 7, e–h: down-sampling ratio and channel expansion of Reverse False Negative Attention, against the Unet."""

from pam.study import Equivalence, Panel, Study, Trend, Variant, by_level, grid

DEPTHWISE = grid(Variant("rfna"), ratio=[2, 4, 8], expansion=[2, 4, 8], depthwise=[True])
FULL = grid(Variant("rfna"), ratio=[2, 4, 8], expansion=[1, 2], depthwise=[False])

STUDY = Study(
    question="Does a higher down-sampling ratio help Reverse False Negative Attention, and does expansion matter?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=(*DEPTHWISE, *FULL),
    claims=(
        Trend(
            id="C10",
            text="RFNA: a higher down-sampling ratio is always better",
            levels=by_level((*DEPTHWISE, *FULL), "ratio"),
        ),
        Equivalence(
            id="C12",
            text="the channel expansion changes mean IoU by less than one point",
            levels=by_level(DEPTHWISE, "expansion"),
            margin=0.01,
        ),
    ),
    folds=5,
    seeds=3,
    panels=(
        Panel(name="e", network="rfna", over="ratio", lines="expansion", where={"depthwise": True}),
        Panel(name="f", network="rfna", over="expansion", lines="ratio", where={"depthwise": True}),
        Panel(name="g", network="rfna", over="expansion", lines="ratio", where={"depthwise": False}),
        Panel(name="h", network="rfna", over="ratio", lines="expansion", where={"depthwise": False}),
    ),
)
