"""Does the loss matter more than the attention?"""

from pam.study import Claim, Study, Variant, grid

LOSSES = ("dice", "dice_per_image", "cross_entropy", "dice_and_cross_entropy", "focal", "tversky")

STUDY = Study(
    question="Does a loss that weighs mistakes do what attention to mistakes does?",
    dataset="brats2018",
    reference=Variant("unet", label="unet loss=dice"),
    variants=(*grid(Variant("unet"), loss=LOSSES[1:]), *grid(Variant("fpa"), loss=LOSSES)),
    claims=(
        Claim(
            id="loss",
            text="FPA with the Dice loss misses less than the Unet with a loss that weighs misses",
            row="fpa loss=dice",
            over=("unet loss=tversky",),
            score="fn_rate",
            more=False,
            relative=True,
        ),
    ),
    columns=("iou", "dice", "hd95", "fp_rate", "fn_rate"),
    caption="Losses.",
)
