"""Deep Restoration: images reconstructed from the feature maps of one layer of a classifier."""
