# Which recipes are reconstructed from several restarts, and how.


def restarted(pattern):
    """The pattern for every recipe that is reconstructed from several restarts."""
    return expand(pattern, recipe=STUDY["restarts"]["recipe"], allow_missing=True)


def restarts_settings(wildcards):
    """Those of the reconstruction, and how many restarts of how many images."""
    how = {key: STUDY["restarts"][key] for key in ("count", "images")}
    return canonical(reconstruction_settings(wildcards) | {"restarts": how})
