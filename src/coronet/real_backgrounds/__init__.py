"""Calcium drawn into real scans that hold none: backgrounds, courses of the arteries, deposits, cases."""
