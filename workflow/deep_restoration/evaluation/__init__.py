"""Measures of reconstructed images, their intervals and tables, and what papers published."""
