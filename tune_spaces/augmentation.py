"""Does augmentation beyond the paper's horizontal flip help, and does it help attention as much?"""

from pam.study import Study, Variant

AUGMENTATIONS = {
    "none": (),
    "flip": ("horizontal_flip",),
    "flips and turns": ("horizontal_flip", "vertical_flip", "quarter_turns"),
    "intensity": ("horizontal_flip", "intensity_scale", "intensity_shift", "gaussian_noise"),
    "affine": ("horizontal_flip", "affine"),
    "elastic": ("horizontal_flip", "elastic"),
    "all": (
        "horizontal_flip",
        "vertical_flip",
        "quarter_turns",
        "affine",
        "elastic",
        "intensity_scale",
        "intensity_shift",
        "gaussian_noise",
    ),
}
ROWS = {
    (network, name): Variant(network, recipe={"augment": augment}, label=f"{network}, {name}")
    for network in ("unet", "fpa")
    for name, augment in AUGMENTATIONS.items()
}

STUDY = Study(
    question="Does augmentation beyond a horizontal flip help, with attention and without?",
    dataset="brats2018",
    reference=ROWS["unet", "flip"],
    variants=tuple(row for key, row in ROWS.items() if key != ("unet", "flip")),
    columns=("iou", "dice", "hd95", "fn_rate", "train_time"),
    caption="Augmentation.",
)
