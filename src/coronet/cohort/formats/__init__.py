"""File formats that scans and masks come in, each read into an array and an affine in RAS+ millimetres."""
