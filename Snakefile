# Deep Restoration: what an image classifier forgets at each layer, and how well it can be reconstructed.
#
#   snakemake                      the whole study: results/report.html
#   snakemake statistics           one stage (also: priors denoising inverters reconstructions
#                                  evaluation restarts prior_selection visualisations figures)
#   snakemake --configfile F.yaml  a study of your own

from snakemake.utils import min_version

min_version("9.20")


configfile: Path(workflow.basedir) / "config" / "config.yaml"


report: "workflow/report/introduction.rst"


# Only read under `--sdm apptainer`, which this workflow does not need: requirements.txt pins the
# environment, and `make` builds it. --lint asks for a software environment by this name.
container: "docker://python:3.11"


include: "workflow/rules/common.smk"
include: "workflow/rules/images.smk"
include: "workflow/rules/classifiers.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/patches.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/priors.smk"
include: "workflow/rules/denoising.smk"
include: "workflow/rules/inverters.smk"
include: "workflow/rules/reconstructions.smk"
include: "workflow/rules/evaluation.smk"


if STUDY["linear_inverse"]:

    include: "workflow/rules/linear_inverse.smk"


if STUDY["restarts"]:

    include: "workflow/rules/restarts.smk"


if STUDY["prior_selection"]:

    include: "workflow/rules/prior_selection.smk"


if STUDY["shards"] > 1:

    include: "workflow/rules/shards.smk"


include: "workflow/rules/published.smk"
include: "workflow/rules/visualisations.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/paths.smk"


rule all:
    "Target: the whole study, its report and its tables."
    default_target: True
    input:
        "results/report.html",
        "results/tables/reconstruction.csv",
        "results/tables/reconstruction_summary.csv",
        "results/tables/published.csv",
        "results/tables/time_to_quality.csv",
        "results/tables/discrimination.csv" if STUDY["priors"] else [],
        "results/tables/inverters.csv" if STUDY["inverters"] else [],
        expand("results/pictures/{classifier}", classifier=STUDY["classifiers"])
        if STUDY["figures"]["files"]
        else [],


rule statistics:
    "Target: the statistics of feature maps, and the linear inverses."
    input:
        every_layer("results/statistics/{classifier}/{layer}.h5"),
        linear_inverses("csv"),


rule priors:
    "Target: the learned priors, and what they are worth."
    input:
        [f"{path}.safetensors" for path in prior_paths()],
        expand("results/tables/{name}.csv", name=["priors", "denoising", "discrimination"])
        if STUDY["priors"]
        else [],


rule denoising:
    "Target: denoising as a test of priors."
    input:
        denoised("csv", "images") + denoised("csv", "grey"),
        [
            f"results/figures/denoising/{colour}.png"
            for colour in ("images", "grey")
            if denoised("h5", colour)
        ],
        "results/tables/denoising_levels.csv" if denoisers() else [],
        "results/tables/denoising_agreement.csv" if halves() else [],


rule inverters:
    "Target: the inverse networks, and how they compare."
    input:
        every_layer(
            "results/inverters/{classifier}/{layer}/{file}", file=inverter_files("safetensors")
        ),
        [
            "results/tables/inverters.csv",
            *expand("results/figures/{classifier}/inverters.png", classifier=STUDY["classifiers"]),
        ]
        if STUDY["inverters"]
        else [],


rule reconstructions:
    "Target: the images reconstructed from every layer by every recipe."
    input:
        every_layer(
            "results/reconstructions/{classifier}/{layer}/{recipe}.h5", recipe=STUDY["recipes"]
        ),


rule evaluation:
    "Target: the measures of reconstructed images, beside the papers'."
    input:
        "results/tables/reconstruction.csv",
        "results/tables/reconstruction_summary.csv",
        "results/tables/comparison.csv",
        "results/tables/published.csv",
        "results/tables/time_to_quality.csv",
        "results/tables/moved.csv",
        expand(
            "results/figures/{classifier}/{figure}.png",
            classifier=STUDY["classifiers"],
            figure=["overview", "moved"],
        ),


rule restarts:
    "Target: how ambiguous the layers are, by reconstructing from several restarts."
    input:
        study_files("restarts"),


rule prior_selection:
    "Target: what priors of feature maps add to a recipe."
    input:
        study_files("prior_selection"),


rule visualisations:
    "Target: other pictures of layers: activation maximisation, caricatures, textures, attribution."
    input:
        [
            f"results/figures/{classifier}/{kind}/{name}.png"
            for classifier, kind, name in visualisation_figures()
        ],


rule figures:
    "Target: every figure of the report."
    input:
        all_figures(),
