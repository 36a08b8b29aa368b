# Which priors are asked to denoise what.


def denoising_prior(wildcards):
    """The file of the prior; total variation is not learned."""
    return [] if wildcards.prior == "tv" else [f"results/priors/{wildcards.prior}.safetensors"]


def denoising_test(wildcards):
    """The test images, where these are denoised."""
    return ["results/images/test.h5"] if STUDY["denoising"]["images"] == "test" else []


def denoising_files():
    """Relative names of the photographs of a folder, with the content that Snakemake watches."""
    found = image_inventory("denoising")
    return dict(found) if found else {}


def denoising_folder(wildcards, threads):
    """As `image_folder`: not recorded."""
    source = STUDY["denoising"]["images"]
    return (
        "" if source in (None, "test") else str(inventory.folder_of(configuration.folder(source)))
    )


def denoising_settings(wildcards):
    """How images are denoised; `denoising_files` says which."""
    settings = {k: v for k, v in STUDY["denoising"].items() if k != "images"}
    more = {"seed": STUDY["seed"], "held_out": STUDY["images"]["held_out"], "of": wildcards.colour}
    return canonical(settings | more)


def denoised(extension, colour):
    """Files of the denoising stage: the priors of images or of grey ones, by each estimator that they have,
    and total variation beside them."""
    priors = priors_of(colour) if STUDY["denoising"]["images"] else []
    names = ["tv.map"] if priors else []
    for prior in priors:
        method = registry.LEARNED[STUDY["priors"][prior]["method"]]
        names += [f"{prior}.{estimator}" for estimator in method.estimators]
    return [f"results/denoising/{name}.{colour}.{extension}" for name in names]


def denoisers():
    """The priors of images or of grey ones that are denoisers."""
    methods = {prior: entry["method"] for prior, entry in STUDY["priors"].items()}
    return [p for p in priors_of("images", "grey") if registry.LEARNED[methods[p]].denoises]


def levels_settings(wildcards):
    """Which images a denoiser is measured on."""
    prior = wildcards.prior
    more = {"seed": STUDY["seed"], "held_out": STUDY["images"]["held_out"]}
    more["part"] = STUDY["priors"][prior].get("part", "all")
    return canonical(more | {"of": configuration.source_of(STUDY, prior)})


def halves():
    """Pairs of denoisers that differ in nothing but the half of the photographs that they learn from."""

    def rest(prior):
        return {k: v for k, v in STUDY["priors"][prior].items() if k != "part"}

    first, second = (
        [p for p in denoisers() if STUDY["priors"][p].get("part") == half]
        for half in ("first_half", "second_half")
    )
    return [(one, other) for one in first for other in second if rest(one) == rest(other)]


def agreement_priors():
    """The priors of these pairs, each once."""
    return list(dict.fromkeys(prior for pair in halves() for prior in pair))


def agreement_settings(wildcards):
    """Which denoisers are compared, and on which images."""
    pairs = [
        {"priors": list(pair), "of": configuration.source_of(STUDY, pair[0])} for pair in halves()
    ]
    more = {"seed": STUDY["seed"], "held_out": STUDY["images"]["held_out"]}
    return canonical(more | {"priors": agreement_priors(), "pairs": pairs})
