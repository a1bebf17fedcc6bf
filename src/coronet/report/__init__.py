"""HTML pages and pictures of scans and cohorts."""
