# Photographs -> uint8 squares in HDF5.


include: "functions/images.smk"


rule images:
    "Crop the photographs of one split to squares."
    output:
        "results/images/{split}.h5",
    log:
        "logs/images/{split}.log",
    benchmark:
        "logs/benchmarks/images/{split}.tsv"
    threads: 4
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        settings=image_settings,
        folder=image_folder,
        hashes=str(IMAGE_HASHES),
        least=least_images,
        code=code("images.py"),
        store=store,
    message:
        "Preparing the {wildcards.split} images"
    script:
        "../scripts/images.py"
