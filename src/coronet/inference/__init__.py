"""From a scan to probabilities and masks: devices, sliding window, prediction."""
