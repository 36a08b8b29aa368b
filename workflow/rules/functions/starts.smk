# Which recipes are restored from several starts, and how.


def started(pattern):
    """The pattern for every recipe that is restored from several starts."""
    return expand(pattern, recipe=STUDY["starts"]["recipe"], allow_missing=True)


def starts_settings(wildcards):
    """Those of the reconstruction, and how many starts of how many images."""
    how = {key: STUDY["starts"][key] for key in ("count", "images")}
    return canonical(reconstruction_settings(wildcards) | {"starts": how})
