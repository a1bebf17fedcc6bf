"""Masks from a few strokes of a person: a random forest fills in the rest."""
