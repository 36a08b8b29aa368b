"""Deep Restoration: images reconstructed from the feature maps of one layer of a classifier.

    import deep_restoration as restoration

    found = restoration.invert(model, "layer3", "photo.jpg")
    found.save("kept.png")

`invert`, `recipes`, `load_prior` and `Inverted` are public: their arguments and results change with a new
minor version at most, and CHANGELOG.md says how. What else is in the package serves the workflow and may
change at any time. Importing the package imports nothing else: torch comes with the first of these names
that is used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .interface.inverting import Inverted, invert
    from .interface.recipes import recipes
    from .priors.registry import load as load_prior

__all__ = ["Inverted", "invert", "load_prior", "recipes"]


def __getattr__(name: str):
    if name == "recipes":
        from .interface.recipes import recipes

        return recipes
    if name == "load_prior":
        from .priors.registry import load

        return load
    if name in ("Inverted", "invert"):
        from .interface import inverting

        return getattr(inverting, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
