"""Figures: data in, matplotlib Figure out. No torch."""
