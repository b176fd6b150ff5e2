"""The paper's ten networks side by side: which of its claims hold, also on other data (`--dataset lgg`)?"""

from pam.study import Claim, Study, Variant

ATTENTION = ("aunet", "cscunet", "gcnunet", "cbamunet")
BASELINES = ("unet", *ATTENTION)

STUDY = Study(
    question="Which of the paper's claims hold with its ten networks side by side?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=tuple(map(Variant, ("wunet", "d6unet", "d9unet", *ATTENTION, "rfna", "fpa"))),
    claims=(
        Claim(id="C1", text="FPA beats the best baseline in IoU", row="fpa", over=BASELINES),
        Claim(id="C3", text="RFNA has the highest IoU", row="rfna", over=(*BASELINES, "fpa")),
        Claim(
            id="C5",
            text="FPA cuts the false-negative rate of the best baseline",
            row="fpa",
            over=BASELINES,
            score="fn_rate",
            more=False,
            relative=True,
        ),
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
    caption="The ten networks, enhancing tumour in BRATS 2018.",
)
