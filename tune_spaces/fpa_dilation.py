"""Figure 7, a–d: dilation and channel expansion of False Positive Attention, against the Unet."""

from pam.study import Claim, Equivalence, Panel, Study, Trend, Variant, by_level, grid

DEPTHWISE = grid(Variant("fpa"), dilation=[6, 9, 12], expansion=[2, 4, 8], depthwise=[True])
FULL = grid(Variant("fpa"), dilation=[6, 9, 12], expansion=[1, 2], depthwise=[False])
PAPER = "fpa dilation=9 expansion=4 depthwise=True"  # Table 5's configuration

STUDY = Study(
    question="Does a larger dilation help False Positive Attention, and does channel expansion matter?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=(*DEPTHWISE, *FULL),
    claims=(
        Claim(id="C8", text="FPA beats its backbone in IoU", row=PAPER, over=("unet",)),
        Claim(
            id="C5",
            text="FPA cuts the false-negative rate of its backbone",
            row=PAPER,
            over=("unet",),
            score="fn_rate",
            more=False,
            relative=True,
        ),
        Trend(
            id="C11",
            text="a higher dilation is better only with depth-wise convolutions",
            levels=by_level(DEPTHWISE, "dilation"),
            beyond=by_level(FULL, "dilation"),
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
        Panel(name="a", network="fpa", over="dilation", lines="expansion", where={"depthwise": True}),
        Panel(name="b", network="fpa", over="expansion", lines="dilation", where={"depthwise": True}),
        Panel(name="c", network="fpa", over="expansion", lines="dilation", where={"depthwise": False}),
        Panel(name="d", network="fpa", over="dilation", lines="expansion", where={"depthwise": False}),
    ),
)
