# Photographs -> uint8 squares in HDF5.


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
        "content": inventory.digest(found),
        "count": len(found),
        "unusable": images["unusable"],
    }


def image_folder(wildcards, threads):
    """Where the files lie. Snakemake does not record params that depend on threads, so that a folder
    that was moved with its images reruns nothing."""
    source = STUDY["images"][wildcards.split]
    return "" if source == "embedded" else str(configuration.folder(source))


rule images:
    output:
        "results/images/{split}.h5",
    log:
        "logs/images/{split}.log",
    benchmark:
        "logs/benchmarks/images/{split}.tsv"
    threads: 4
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        settings=image_settings,
        folder=image_folder,
        code=code("images.py"),
    message:
        "Preparing the {wildcards.split} images"
    script:
        "../scripts/images.py"
