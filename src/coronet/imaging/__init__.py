"""Images in millimetres: resampling, cropping, filters and the comparison of masks."""
