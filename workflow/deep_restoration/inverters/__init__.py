"""Inverse networks: chains of modules from the feature maps of a layer back to the image."""
