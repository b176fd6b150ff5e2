"""Ablation studies of lesion segmentation that can be trusted and traced."""
