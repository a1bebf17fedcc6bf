"""Cases: import of scans, the case table, quality flags, duplicates and the split; `nlst` for NLST."""
