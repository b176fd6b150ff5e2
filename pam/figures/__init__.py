"""Figures, one module per kind; `pam.figures.style` is what they share."""
