"""NLST out of the Imaging Data Commons: chosen by rule, listed in a manifest, downloaded and converted."""
