"""Volumes and cases: reading, phantoms, the case table and the split."""
