"""Table 4: does attention to mistakes find stroke lesions that other attention misses?"""

from pam.study import Claim, Study, Variant

BASELINES = ("unet", "aunet", "cscunet")

STUDY = Study(
    question="Does attention to mistakes beat spatial and mixed attention on stroke lesions?",
    dataset="isles2018",
    reference=Variant("unet"),
    variants=tuple(map(Variant, ("aunet", "cscunet", "rfna", "fpa"))),
    # Differs from the paper, which splits once, 0.7 : 0.1 : 0.2:
    # one split is one draw of trainings, from which no claim can be told.
    split="folds",
    claims=(
        Claim(id="C6", text="FPA gains IoU over the best baseline", row="fpa", over=BASELINES),
        Claim(
            id="C7",
            text="RFNA cuts the HD95 of the best baseline",
            row="rfna",
            over=BASELINES,
            score="hd95",
            more=False,
            relative=True,
        ),
    ),
    columns=("iou", "dice", "hd95", "fn_rate", "parameters", "gflop", "train_time"),
    caption="Stroke lesions in ISLES 2018.",
    published={
        "unet": "isles2018_table4/Unet",
        "aunet": "isles2018_table4/AUnet",
        "cscunet": "isles2018_table4/CSCUnet",
        "rfna": "isles2018_table4/RFNA",
        "fpa": "isles2018_table4/FPA",
    },
)
