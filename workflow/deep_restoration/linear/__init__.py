"""The best linear inverse of a convolution under a Gaussian prior, and how far it is from a convolution."""
