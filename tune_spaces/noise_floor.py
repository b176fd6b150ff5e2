"""A/A: how far apart are two trainings that differ in nothing but their seed?"""

from pam.study import Study, Variant

STUDY = Study(
    question="How large a difference does the seed alone make?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=tuple(map(Variant, ("fpa", "rfna"))),
    folds=5,
    seeds=6,
    caption="Repeats of one configuration.",
)
