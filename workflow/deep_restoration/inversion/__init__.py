"""Images from feature maps: pre-image optimisation under priors, its recipes, searches and variants."""
