"""Photographs, splits and patches."""
