"""Figure 7, a–d: dilation and channel expansion of False Positive Attention, against the Unet."""

from pam.study import Claim, Panel, Study, Variant, grid

STUDY = Study(
    question="Does a larger dilation help False Positive Attention, and does channel expansion matter?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=(
        *grid(Variant("fpa"), dilation=[6, 9, 12], expansion=[2, 4, 8], depthwise=[True]),
        *grid(Variant("fpa"), dilation=[6, 9, 12], expansion=[1, 2], depthwise=[False]),
    ),
    claims=(
        Claim(
            id="C8",
            text="FPA beats its backbone in IoU",
            row="fpa dilation=9 expansion=4 depthwise=True",
            over=("unet",),
        ),
        Claim(
            id="C5",
            text="FPA cuts the false-negative rate of its backbone",
            row="fpa dilation=9 expansion=4 depthwise=True",
            over=("unet",),
            score="fn_rate",
            more=False,
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
