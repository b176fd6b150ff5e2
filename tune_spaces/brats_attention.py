"""Table 5: does attention to mistakes find enhancing tumour that other attention misses?"""

from pam.study import Claim, Study, Variant

ATTENTION = ("aunet", "cscunet", "gcnunet", "cbamunet")
BASELINES = ("unet", *ATTENTION)

STUDY = Study(
    question="Does attention to mistakes beat spatial, mixed and self attention on enhancing tumour?",
    dataset="brats2018",
    reference=Variant("unet"),
    # The paper's text and the sizes in its table name different defaults of RFNA and FPA: both are rows.
    variants=tuple(map(Variant, (*ATTENTION, "rfna", "fpa", "rfna_text", "fpa_text"))),
    claims=(
        Claim(id="C3", text="RFNA has the highest IoU", row="rfna", over=(*BASELINES, "fpa")),
        Claim(
            id="C4",
            text="FPA cuts the HD95 of the best attention baseline",
            row="fpa",
            over=ATTENTION,
            score="hd95",
            more=False,
            relative=True,
        ),
        Claim(
            id="C5",
            text="FPA cuts the false-negative rate of the best baseline",
            row="fpa",
            over=BASELINES,
            score="fn_rate",
            more=False,
            relative=True,
        ),
    ),
    columns=("iou", "dice", "hd95", "fp_rate", "fn_rate", "parameters", "gflop", "train_time", "peak_memory"),
    caption="Enhancing tumour in BRATS 2018.",
    published={
        "aunet": "brats2018_table5/AUnet",
        "cscunet": "brats2018_table5/CSCUnet",
        "gcnunet": "brats2018_table5/GCNUnet",
        "cbamunet": "brats2018_table5/CBAMUnet",
        "rfna": "brats2018_table5/RFNA",
        "fpa": "brats2018_table5/FPA",
    },
)
