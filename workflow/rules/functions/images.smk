# Which photographs a study has, and how they are cropped.

import sys
from functools import lru_cache

from deep_restoration.data import inventory, spacing
from deep_restoration.files import hashing

IMAGE_HASHES = Path(".snakemake") / "deep_restoration" / "images.json"


@lru_cache(maxsize=None)
def image_inventory(split):
    """Which files a folder of images holds (train, test, or those to denoise), and their content; of a single
    file that one."""
    section, name = ("denoising", "images") if split == "denoising" else ("images", split)
    source, key = STUDY[section][name], f"{section}.{name}"
    if source in (configuration.EMBEDDED, None) or (split == "denoising" and source == "test"):
        return None
    folder = configuration.folder(source)
    if PLANNING and not folder.exists():
        print(f"{key}: there is no {source} yet; planned without it", file=sys.stderr)
        return {}
    found = inventory.survey(folder)
    if found.left_out and workflow.is_main_process:
        print(f"{key}: {found}", file=sys.stderr)
    files = found.images
    if split == "test":
        files = spacing.evenly_spaced(files, STUDY["images"]["test_count"])
    return hashing.content_hashes(inventory.folder_of(folder), files, IMAGE_HASHES)


def check_disjoint():
    """Test images that are also training images would make the study's claim void."""
    train, test = image_inventory("train"), image_inventory("test")
    if train and test:
        seen = {digest: name for name, digest in train.items() if digest}
        both = [f"{name} = {seen[digest]}" for name, digest in test.items() if digest in seen]
        if both:
            raise WorkflowError(
                f"{len(both)} of {len(test)} test images are also training images (same bytes): "
                f"{', '.join(both[:3])}. Take them out of images.train or images.test."
            )


def image_settings(wildcards):
    """The source of one split, its content, and how it is cropped."""
    images, split = STUDY["images"], wildcards.split
    found = image_inventory(split)
    settings = {"split": split, "size": images["size"], "seed": STUDY["seed"]}
    if found is None:
        count = images[f"embedded_{split}"]
        if split == "test" and images["test_count"]:
            count = min(count, images["test_count"])
        return settings | {"source": "embedded", "count": count}
    return settings | {
        "source": "folder",
        "content": hashing.digest(found),
        "count": len(found),
        "unusable": images["unusable"],
    }


def image_folder(wildcards, threads):
    """Where the files lie, or the single file. Snakemake does not record params that depend on threads, so that a folder
    that was moved with its images reruns nothing."""
    source = STUDY["images"][wildcards.split]
    return "" if source == "embedded" else str(configuration.folder(source))


def least_images(wildcards, threads):
    """How many usable images the study needs, and what for. Not recorded, as `image_folder`."""
    needs = preflight.image_needs(STUDY)
    return max([(n, who) for split, who, n in needs if split == wildcards.split], default=(1, ""))


check_disjoint()
