"""The encoders allowed, the U-Nets, the autoencoder, and the one builder."""
