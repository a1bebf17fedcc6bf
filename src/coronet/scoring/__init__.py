"""From masks to scores: protocols, Agatston and other scores, lesions, risk groups, uncertainty."""
