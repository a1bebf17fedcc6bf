"""Losses, metrics, the training loop and its checkpoints, prediction and evaluation."""
