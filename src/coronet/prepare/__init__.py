"""What a network sees: geometry, intensity, windows, augmentation and the store of prepared cases."""
