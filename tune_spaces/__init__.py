"""Studies, one per file; each defines `STUDY`."""
