"""From a study to its trained cells: planned, checked, scheduled on Ray, watched; `python -m pam.sweep` runs it."""
