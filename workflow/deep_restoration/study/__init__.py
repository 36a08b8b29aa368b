"""The study's configuration: keys, defaults, limits, meaning. Imports no torch."""
