"""Measures of restored images, their intervals and tables, and what papers published."""
