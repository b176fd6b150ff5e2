"""From case files to batches: checked volumes, the slice store, folds, batches."""
