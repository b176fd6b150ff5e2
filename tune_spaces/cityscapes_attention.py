"""Table 3: does attention to mistakes find vehicles that other attention misses?"""

from pam.study import Claim, Study, Variant

BASELINES = ("unet", "aunet", "cscunet")

STUDY = Study(
    question="Does attention to mistakes beat spatial and mixed attention on street scenes?",
    dataset="cityscapes",
    reference=Variant("unet"),
    variants=tuple(map(Variant, ("aunet", "cscunet", "rfna", "fpa"))),
    # Differs from the paper, which trains once on the data set's own cities:
    # one split is one draw of trainings, from which no claim can be told.
    split="folds",
    claims=(
        Claim(id="C1", text="FPA beats the best baseline in IoU", row="fpa", over=BASELINES),
        Claim(
            id="C2",
            text="FPA cuts the HD95 of the best baseline",
            row="fpa",
            over=BASELINES,
            score="hd95",  # in pixels: CityScapes tells no spacing
            more=False,
            relative=True,
        ),
    ),
    columns=("iou", "dice", "hd95", "parameters", "gflop", "train_time"),
    caption="Vehicles in CityScapes.",
    published={
        "aunet": "cityscapes_table3/AUnet",
        "cscunet": "cityscapes_table3/CSCUnet",
        "rfna": "cityscapes_table3/RFNA",
        "fpa": "cityscapes_table3/FPA",
    },
)
