"""Heart and calcium masks from a few strokes of a reader: a random forest classifies the rest."""
