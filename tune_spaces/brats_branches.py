"""Table 6: are both branches needed, and is capacity the reason?"""

from pam.study import Claim, Study, Variant

STUDY = Study(
    question="Does FPA need both its branches, and is its gain more than capacity?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=tuple(map(Variant, ("wunet", "d6unet", "d9unet", "fpa", "rfna"))),
    claims=(
        Claim(
            id="C8",
            text="both branches are needed: FPA beats Unet, D6Unet and D9Unet in IoU",
            row="fpa",
            over=("unet", "d6unet", "d9unet"),
        ),
        Claim(
            id="C9",
            text="capacity is not the reason: FPA beats WUnet in IoU with a third of its parameters",
            row="fpa",
            over=("wunet",),
            smaller=True,
        ),
    ),
    columns=("iou", "dice", "hd95", "fp_rate", "fn_rate", "parameters", "gflop", "train_time", "peak_memory"),
    caption="Branches and capacity, enhancing tumour in BRATS 2018.",
    published={
        "unet": "brats2018_table6/Unet",
        "wunet": "brats2018_table6/WUnet",
        "d6unet": "brats2018_table6/D6Unet",
        "d9unet": "brats2018_table6/D9Unet",
        "fpa": "brats2018_table5/FPA",
        "rfna": "brats2018_table5/RFNA",
    },
)
