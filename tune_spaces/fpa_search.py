"""Learning rate, width and augmentation that suit the Unet and False Positive Attention, each on its own."""

from pam.study import Range, Search, Study, Variant

STUDY = Study(
    question="Does False Positive Attention still beat the Unet when each has the settings that suit it?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=(Variant("fpa"),),
    search=Search(
        space={
            "learning_rate": Range(low=3e-5, high=3e-2, log=True),
            "width": [8, 16, 32],
            "augment": [("horizontal_flip",), ("horizontal_flip", "affine"), ("horizontal_flip", "intensity_scale")],
        },
        trials=24,
    ),
)
