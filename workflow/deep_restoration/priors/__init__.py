"""Priors on images and feature maps: hand-crafted, and learned by score matching and denoising."""
