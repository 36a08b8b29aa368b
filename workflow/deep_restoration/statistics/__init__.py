"""Statistics of feature maps."""
