"""Image classifiers: architectures, weights, the network as data, layers and what they see."""
