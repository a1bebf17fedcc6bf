"""The synthetic cohort: anatomy, lesions, scanner, and the simulated reader who annotates it."""
