"""What a reader must know about the numbers of each protocol's table, in words below it."""

from __future__ import annotations

from pam.report.tables import GAP

TOLD = "‡"  # marks a score that differs from the reference's
MARKS = (
    "Bold: the best row, and each whose difference to it has a 95 % interval that covers zero (not adjusted); none "
    "where that is every row. "
    f"{TOLD}: differs from the reference, p < 5 % by Holm over the rows. {GAP}: cells are missing. "
    "[n]: defined in n only. "
)
COSTS_TOLD = (
    "GFLOP: of a forward pass on one slice, a multiplication and its addition being two. Training: mean over cells. "
    "Memory: the largest peak of a cell's training, of the GPU where there was one, else of the process. "
)
PAPER = (
    "Protocol: paper. Unit: the slice. Scores: mean over those test slices of a cell in which prediction and target "
    "are both non-empty (Both); then mean ± SD over the row's cells, which are fold × seed (SD with n − 1; – for one "
    "cell). Slices in which a mask is empty are left out of these means and counted: a miss (prediction empty), a "
    "false alarm (target empty), or both empty. Counts are sums over the cells. "
    "IoU: mean of foreground and background IoU. HD95: 95th percentile of the pooled surface distances (MedPy's "
    "definition), in pixels. FP/N and FN/P: per cent of the target's negative and positive pixels. n: cells "
    "found/expected. Differences: over folds, by Nadeau and Bengio's corrected t. "
)
PATIENT = (
    "Unit: the patient, each once, seeds averaged within. Scores: mean over patients (95 % interval: the wider "
    "of the t intervals over patients and over test folds, which holds where a bootstrap over patients does not: "
    "docs/statistics.md). n: patients tested. Counts: of patients, summed over seeds. "
)
OVERLAPS = (
    "Dice, IoU (mean of foreground and background) and FN/P from the patient's voxels, all pooled; a patient with both "
    "masks empty is undefined, left out and counted. "
)
RULES = {  # by protocol: where distances are in mm, and where the data set tells no spacing
    "patient": {
        True: (
            "HD95: pooled surface distances (MedPy's definition), in mm and 3-D, mean of the patient's scans. A miss "
            "or a false alarm is as far away as the scan's diagonal is long. "
        ),
        False: (
            "HD95: pooled surface distances (MedPy's definition) of each slice scored, in pixels, mean of the "
            "patient's slices on which a mask has a pixel: the data set tells no spacing, so nothing is in mm, and no "
            "distance goes from slice to slice. A slice with a miss or a false alarm is as far away as its diagonal "
            "is long. "
        ),
    },
    "brats": {
        True: (
            "A miss or a false alarm has Dice 0 and HD95 373.13 mm, the diagonal of BraTS' volumes; with both masks "
            "empty Dice is 1 and HD95 0. HD95: pooled surface distances (MedPy's definition), in mm, in 3-D. "
        ),
        False: (
            "A miss or a false alarm has Dice 0; with both masks empty Dice is 1. HD95 is left out: its penalty is in "
            "mm, and the data set tells no spacing. "
        ),
    },
}


def of(protocol: str, *, in_mm: bool) -> str:
    """in_mm: whether the distances of patients are."""
    if protocol == "paper":
        return (PAPER + MARKS + COSTS_TOLD).strip()
    overlaps = OVERLAPS if protocol == "patient" else ""
    return f"Protocol: {protocol}. {overlaps}{RULES[protocol][in_mm]}{PATIENT}{MARKS}{COSTS_TOLD}".strip()
