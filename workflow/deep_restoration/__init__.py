"""Deep Restoration: images restored from the feature maps of one layer of a classifier."""
