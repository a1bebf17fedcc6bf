"""From a scan to what a network sees, and the store of prepared cases."""
