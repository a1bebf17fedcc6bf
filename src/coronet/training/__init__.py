"""Training: sampling, augmentation, losses, the trainer and its checkpoints."""
