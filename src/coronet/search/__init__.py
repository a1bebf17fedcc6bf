"""Optuna searches: the space, the objective on inner folds, the study and the adoption of its winner."""
