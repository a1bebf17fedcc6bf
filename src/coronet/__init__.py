"""Coronet: from chest CT to a promoted, explained and served coronary-calcium model."""

__version__ = "0.1.0"
