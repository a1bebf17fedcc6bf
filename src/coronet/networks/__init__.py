"""U-Nets, the autoencoder, smp-3d and MONAI encoders, and the factory that builds and loads them."""
