"""From the ledger to a study's tables, figures, claims and pages; `python -m pam.report` writes them."""
