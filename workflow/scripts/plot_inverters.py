"""Draw the validation error of the inverse networks of all layers."""

from deep_restoration import runtime

with runtime.job(snakemake.log[0], snakemake.threads):
    from pathlib import Path

    from deep_restoration import figures, storage

    histories = {}
    for path in map(Path, snakemake.input):
        inverter = path.name.removesuffix(".history.csv")
        histories[f"{path.parent.name} {inverter}"] = storage.read_csv(path)
    title = f"{snakemake.wildcards.classifier}: training of the inverse networks"
    storage.save_figure(
        figures.inverters(histories, title), snakemake.output.png, snakemake.output.svg
    )
