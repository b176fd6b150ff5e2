"""Figures, one module per kind; `pam.report.figures.style` is what they share."""
