# What rules ask for: their slice of the configuration, their input files, the figures of the report.


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
    """Where the files lie. Snakemake does not record params that depend on threads, so that a folder
    that was moved with its images reruns nothing."""
    source = STUDY["images"][wildcards.split]
    return "" if source == "embedded" else str(configuration.folder(source))


def least_images(wildcards, threads):
    """How many usable images the study needs, and what for. Not recorded, as `image_folder`."""
    needs = preflight.image_needs(STUDY)
    return max([(n, who) for split, who, n in needs if split == wildcards.split], default=(1, ""))


def test_folder(wildcards, threads):
    """The same of the test images, for a rule whose wildcards name no split."""
    return image_folder(Wildcards(fromdict={"split": "test"}), threads)


def moved_settings(wildcards):
    """The test photographs as files; of embedded ones all, however many crops the study has."""
    settings = image_settings(Wildcards(fromdict={"split": "test"}))
    used = ("source", "size", *["content", "count"] * (settings["source"] == "folder"))
    layers = STUDY["classifiers"][wildcards.classifier]["layers"]
    return canonical({key: settings[key] for key in used} | {"layers": layers})


def weights_file(wildcards):
    weights = STUDY["classifiers"][wildcards.classifier]["weights"]
    return str(configuration.folder(weights)) if configuration.is_file(weights) else []


def exemplar_images(wildcards):
    weights = STUDY["classifiers"][wildcards.classifier]["weights"]
    return "results/images/train.h5" if weights == configuration.EXEMPLAR else []


def classifier_settings(wildcards):
    """Layers count only for a classifier trained here, and of them only the deepest: weights behind
    it do not exist."""
    entry = STUDY["classifiers"][wildcards.classifier]
    settings = {key: entry[key] for key in ("architecture", "mean", "std", "sha256")}
    if entry["weights"] == configuration.EXEMPLAR:
        known = preflight.describe(entry["architecture"], STUDY["images"]["size"])
        order = list(known["layers"])
        settings["deepest"] = max(entry["layers"], key=order.index)
        settings["exemplar"] = STUDY["exemplar"]
        settings["seed"] = STUDY["seed"]
        settings["weights"] = configuration.EXEMPLAR
    elif not configuration.is_file(entry["weights"]):
        settings["weights"] = entry["weights"]
    else:
        settings["weights"] = "file"
    return canonical(settings)


def used_layers(wildcards, threads):
    """Layers whose weights must be there. Not recorded, as `image_folder`: what is stored of a file does not
    depend on them."""
    name = wildcards.classifier
    shown = [layer for entry in STUDY["visualisations"] for layer in visualised_layers(name, entry)]
    return list(dict.fromkeys(STUDY["classifiers"][name]["layers"] + shown))


def layers_before(wildcards):
    """Shape, stride, receptive field of every layer up to the wildcard's. Found out when the
    configuration was checked: a job would need seconds for it."""
    architecture = STUDY["classifiers"][wildcards.classifier]["architecture"]
    layers = preflight.describe(architecture, STUDY["images"]["size"])["layers"]
    last = list(layers).index(wildcards.layer)
    return dict(list(layers.items())[: last + 1])


def sight(wildcards):
    """Stride and receptive field of the wildcard's layer."""
    layer = layers_before(wildcards)[wildcards.layer]
    return {key: layer[key] for key in ("receptive_field", "stride")}


def sets_of(*sources):
    """Names of the patch sets drawn from these sources."""
    return [name for name, entry in STUDY["patches"].items() if entry["of"] in sources]


def priors_of(*sources):
    """Names of the learned priors of these sources."""
    return [p for p in STUDY["priors"] if configuration.source_of(STUDY, p) in sources]


def experts_of(*sources):
    """Of these, the ones that have filters."""
    return [p for p in priors_of(*sources) if "expert" in STUDY["priors"][p]]


def next_kernel(wildcards):
    """Positions of the layer that the next layer looks at, if it looks at more than one; at most the
    whole map."""
    architecture = STUDY["classifiers"][wildcards.classifier]["architecture"]
    layers = preflight.describe(architecture, STUDY["images"]["size"])["layers"]
    here = layers[wildcards.layer]
    if len(here["shape"]) < 3:
        return 1
    later = list(layers)[list(layers).index(wildcards.layer) + 1 :]
    fields = (layers[name]["receptive_field"] for name in later)
    wider = (field - here["receptive_field"] for field in fields if field is not None)
    size = 1 + next((more // here["stride"] for more in wider if more > 0), 0)
    return min(size, *here["shape"][1:])


def patch_settings(wildcards):
    entry = STUDY["patches"][wildcards.patches]
    settings = entry | {"seed": STUDY["seed"], "held_out": STUDY["images"]["held_out"]}
    if entry["of"] == "features":
        flat = len(layers_before(wildcards)[wildcards.layer]["shape"]) < 3
        if entry["size"] == "next" or flat:
            settings["size"] = next_kernel(wildcards)
    return canonical(settings)


def prior_patches(wildcards):
    """The patches that the prior learns from or takes its whitening from; networks have none."""
    entry = STUDY["priors"][wildcards.prior]
    if "patches" not in entry:
        return []
    path = f"results/patches/{entry['patches']}"
    if "classifier" in wildcards.keys():
        path = f"{path}/{wildcards.classifier}/{wildcards.layer}"
    return [f"{path}.h5"]


def prior_settings(wildcards):
    more = {"seed": STUDY["seed"], "held_out": STUDY["images"]["held_out"]}
    more["of"] = configuration.source_of(STUDY, wildcards.prior)
    return canonical(STUDY["priors"][wildcards.prior] | more)


def denoising_prior(wildcards):
    return [] if wildcards.prior == "tv" else [f"results/priors/{wildcards.prior}.safetensors"]


def denoising_test(wildcards):
    return ["results/images/test.h5"] if STUDY["denoising"]["images"] == "test" else []


def denoising_files():
    """Relative names of the photographs of a folder, with the content that Snakemake watches."""
    found = image_inventory("denoising")
    return dict(found) if found else {}


def denoising_folder(wildcards, threads):
    """As `image_folder`: not recorded."""
    source = STUDY["denoising"]["images"]
    return "" if source in (None, "test") else str(configuration.folder(source))


def denoising_settings(wildcards):
    settings = {k: v for k, v in STUDY["denoising"].items() if k != "images"}
    more = {"seed": STUDY["seed"], "held_out": STUDY["images"]["held_out"], "of": wildcards.colour}
    return canonical(settings | more)


def denoised(extension, colour):
    """Files of the denoising stage: the priors of images or of grey ones, total variation beside them. Of
    denoisers the most probable image and the posterior mean."""
    priors = priors_of(colour) if STUDY["denoising"]["images"] else []
    names = ["tv.map"] if priors else []
    for prior in priors:
        both = STUDY["priors"][prior]["method"] == "denoiser"
        names += [f"{prior}.map", *[f"{prior}.mean"] * both]
    return [f"results/denoising/{name}.{colour}.{extension}" for name in names]


def prior_filters(wildcards):
    path = f"results/priors/{wildcards.prior}.filters.csv"
    return [path] if wildcards.prior in experts_of("images", "grey") else []


def prior_paths():
    """Every learned prior without its suffix: of images, then of the maps of each layer."""
    features = every_layer(
        "results/priors/{classifier}/{layer}/{prior}", prior=priors_of("features")
    )
    return [f"results/priors/{name}" for name in priors_of("images", "grey")] + features


def naturalness_tables():
    images = ["results/naturalness/images.csv"] if priors_of("images", "grey") else []
    features = every_layer("results/naturalness/{classifier}/{layer}.csv")
    return images + (features if priors_of("features") else [])


def linear_inverses(extension):
    """Tables of the linear inverses of every classifier, if the study has them."""
    wanted = STUDY["classifiers"] if STUDY["linear_inverse"] else []
    return [f"results/linear_inverse/{classifier}.{extension}" for classifier in wanted]


def inverter_settings(wildcards):
    entry = STUDY["inverters"][wildcards.inverter]
    used = {key: value for key, value in entry.items() if key != "replicates"}
    return canonical(used | {"seed": STUDY["seed"], "held_out": STUDY["images"]["held_out"]})


def inverter_files(extension):
    """Without classifier and layer: every replicate of every inverse network."""
    return [
        f"{name}/{replicate}.{extension}"
        for name, entry in STUDY["inverters"].items()
        for replicate in range(entry["replicates"])
    ]


def layer_inverters(extension):
    path = "results/inverters/{classifier}/{layer}/{file}"
    return expand(path, file=inverter_files(extension), allow_missing=True)


def inversion_settings():
    described = {
        f"{key}s": {name: entry[key] for name, entry in STUDY["inverters"].items()}
        for key in ("kind", "regime")
    }
    return canonical(described | {"seed": STUDY["seed"]})


def used_priors(recipe):
    """Files of the learned priors of images that a recipe uses."""
    named = dict.fromkeys([*(recipe.get("priors") or {}), recipe.get("unseen")])
    learned = [name for name in named if name in priors_of("images")]
    return expand("results/priors/{prior}.safetensors", prior=learned)


def layers_in_front(wildcards):
    """The study's layers in front of the wildcard's, shallow to deep."""
    before = [name for name in layers_before(wildcards) if name != wildcards.layer]
    known = [x for x in STUDY["classifiers"][wildcards.classifier]["layers"] if x in before]
    return sorted(known, key=before.index)


def with_layers_in_front(classifier):
    """The classifier's layers that priors of other layers can be added for, shallow to deep."""
    layers = STUDY["classifiers"][classifier]["layers"]
    wanted = (Wildcards(fromdict={"classifier": classifier, "layer": layer}) for layer in layers)
    return [here.layer for here in wanted if layers_in_front(here)]


def used_feature_priors(recipe, wildcards):
    """Files of the priors of feature maps that a recipe uses, for layers in front of the wildcard's."""
    known, paths = layers_in_front(wildcards), []
    for name, entry in (recipe.get("priors") or {}).items():
        if name in priors_of("features"):
            weight = entry["weight"]
            chosen = list(weight) if isinstance(weight, dict) else entry.get("layers", "all")
            shorthand = {"all": known, "first": known[:1], "last": known[-1:]}
            layers = (
                [x for x in known if x in chosen] if isinstance(chosen, list) else shorthand[chosen]
            )
            path = "results/priors/{classifier}/{layer}/{prior}.safetensors"
            paths += expand(path, classifier=wildcards.classifier, layer=layers, prior=name)
    return paths


def recipe_priors(wildcards):
    return used_priors(STUDY["recipes"][wildcards.recipe])


def recipe_feature_priors(wildcards):
    return used_feature_priors(STUDY["recipes"][wildcards.recipe], wildcards)


def recipe_found(wildcards):
    """What a search has found for the recipe at this layer."""
    searched = STUDY["recipes"][wildcards.recipe].get("search")
    return ["results/search/{classifier}/{layer}/{recipe}.json"] if searched else []


def recipe_inverter(wildcards):
    inverter = STUDY["recipes"][wildcards.recipe].get("inverter")
    path = "results/inverters/{classifier}/{layer}/{inverter}/0.safetensors"
    return expand(path, inverter=inverter, allow_missing=True) if inverter else []


def recipe_settings(wildcards):
    """Ranges to search count for the search alone."""
    recipe = {k: v for k, v in STUDY["recipes"][wildcards.recipe].items() if k != "search"}
    return canonical({"recipe": recipe, "sees": sight(wildcards), "seed": STUDY["seed"]})


def reconstruction_settings(wildcards):
    return canonical(recipe_settings(wildcards) | {"batch": STUDY["batch"]})


def learned_recipes():
    """Names of the recipes that use anything learned."""
    return [
        name
        for name, recipe in STUDY["recipes"].items()
        if recipe.get("inverter")
        or {recipe.get("unseen"), *(recipe.get("priors") or {})} & set(STUDY["priors"])
    ]


def search_settings(wildcards):
    recipe = STUDY["recipes"][wildcards.recipe]
    more = {"search": STUDY["search"], "held_out": STUDY["images"]["held_out"]}
    return canonical(recipe_settings(wildcards) | {"recipe": recipe} | more)


def drawn(path, caption, **labels):
    """A PNG that `snakemake --report` shows, too."""
    category = REPORT_SECTIONS[caption]
    return report(path, caption=f"../report/{caption}.rst", category=category, labels=labels)


# Captions are files of workflow/report; each belongs to a section of the report.
REPORT_SECTIONS = {
    "overview": "Results",
    "measures": "Results",
    "time_to_quality": "Results",
    "published": "Results",
    "moved": "Results",
    "details": "Reconstructions",
    "gallery": "Reconstructions",
    "errors": "Reconstructions",
    "traces": "Reconstructions",
    "starts": "Ambiguity",
    "ambiguity": "Ambiguity",
    "adding": "Adding priors of feature maps",
    "adding_images": "Adding priors of feature maps",
    "classifier": "Classifiers",
    "visualisations": "Visualisations",
    "inverters": "Inverse networks",
    "inversions": "Inverse networks",
    "inverter_training": "Inverse networks",
    "denoising": "Learned priors",
    "naturalness": "Learned priors",
    "prior": "Learned priors",
    "naturalness_of_maps": "Learned priors",
    "statistics": "Feature maps",
    "stationarity": "Feature maps",
    "sparsity": "Feature maps",
    "patches": "Feature maps",
    "linear_inverse": "Linear inverses",
    "linear_restorations": "Linear inverses",
    "workflow": "Workflow",
}


def figure_entries():
    """What the report shows, in its order: path, caption, section and wildcards of every figure."""
    found = []

    def add(caption, path, **wildcards):
        path = f"results/figures/{path}.png".format(**wildcards)
        entry = {"path": path, "caption": caption, "section": REPORT_SECTIONS[caption]}
        found.append(entry | {"wildcards": wildcards})

    for name, entry in STUDY["classifiers"].items():
        add("overview", "{classifier}/overview", classifier=name)
        for kind in ("measures", "time_to_quality", "published", "moved"):
            add(kind, f"{{classifier}}/{kind}", classifier=name)
        for layer in detail_layers(name):
            add("details", "{classifier}/{layer}/details", classifier=name, layer=layer)
        for layer in entry["layers"]:
            for kind in ("gallery", "errors", "traces"):
                add(kind, f"{{classifier}}/{{layer}}/{kind}", classifier=name, layer=layer)
        if STUDY["starts"]:
            for recipe in STUDY["starts"]["recipe"]:
                add("starts", "{classifier}/starts/{recipe}", classifier=name, recipe=recipe)
            add("ambiguity", "{classifier}/ambiguity", classifier=name)
        if STUDY["adding"] and with_layers_in_front(name):
            for kind in ("adding", "adding_images"):
                add(kind, f"{{classifier}}/{kind}", classifier=name)
        add("classifier", "{classifier}/classifier", classifier=name)
        if STUDY["inverters"]:
            for kind in ("inverters", "inversions", "inverter_training"):
                add(kind, f"{{classifier}}/{kind}", classifier=name)
        for layer in entry["layers"]:
            add("statistics", "{classifier}/{layer}/statistics", classifier=name, layer=layer)
        for kind in ("stationarity", "sparsity", *["patches"] * bool(STUDY["patches"])):
            add(kind, f"{{classifier}}/{kind}", classifier=name)
        for kind in ("linear_inverse", "linear_restorations") if STUDY["linear_inverse"] else ():
            add(kind, f"{{classifier}}/{kind}", classifier=name)
    for classifier, kind, name in visualisation_figures():
        path, label = "{classifier}/{kind}/{visualisation}", {"visualisation": name, "kind": kind}
        add("visualisations", path, classifier=classifier, **label)
    for colour in ("images", "grey"):
        if denoised("h5", colour):
            add("denoising", "denoising/{colour}", colour=colour)
    if priors_of("images", "grey"):
        add("naturalness", "naturalness")
    for name in priors_of("images", "grey"):
        add("prior", "priors/{prior}", prior=name)
    if priors_of("features"):
        for name, entry in STUDY["classifiers"].items():
            for layer in entry["layers"]:
                path = "{classifier}/{layer}/naturalness"
                add("naturalness_of_maps", path, classifier=name, layer=layer)
    add("workflow", "workflow")
    order = list(dict.fromkeys(REPORT_SECTIONS.values()))
    return sorted(found, key=lambda entry: order.index(entry["section"]))


def study_files(name):
    """Table and figures of a study that the configuration may leave out: `starts`, `adding`."""
    captions = {"starts": ("starts", "ambiguity"), "adding": ("adding", "adding_images")}[name]
    figures = [entry["path"] for entry in figure_entries() if entry["caption"] in captions]
    return [f"results/tables/{name}.csv", *figures] if STUDY[name] else []


def all_figures():
    return [entry["path"] for entry in figure_entries()]


def patch_files(wildcards):
    """Patches of images, and of the wildcard's classifier."""
    layers = STUDY["classifiers"][wildcards.classifier]["layers"]
    path = "results/patches/{patches}/{classifier}/{layer}.h5"
    return [
        *expand("results/patches/{patches}.h5", patches=sets_of("images", "grey")),
        *expand(path, patches=sets_of("features"), layer=layers, allow_missing=True),
    ]


def recipe_sides():
    """Of every recipe: inverter, if an inverse network has a part in it, learned, or hand-crafted."""
    return canonical(
        {
            name: (
                ("inverter" if recipe.get("inverter") else "learned")
                if name in learned_recipes()
                else "hand-crafted"
            )
            for name, recipe in STUDY["recipes"].items()
        }
    )


def weights_kind(classifier):
    """exemplar, file, or a name of torchvision's weights."""
    weights = STUDY["classifiers"][classifier]["weights"]
    return "file" if configuration.is_file(weights) else weights


def paper_settings(wildcards):
    """`output` is the layer that tells the label, where the study goes so deep with real weights: the stored
    network ends at the deepest layer of the study."""
    entry, output = STUDY["classifiers"][wildcards.classifier], None
    if entry["weights"] != configuration.EXEMPLAR:
        known = preflight.describe(entry["architecture"], STUDY["images"]["size"])
        last = list(known["layers"])[-1] if not known["stop"] else None
        output = last if last in entry["layers"] else None
    return canonical({"recipes": list(STUDY["recipes"]), "output": output})


def published_settings():
    classifiers = {
        name: {"architecture": entry["architecture"], "weights": weights_kind(name)}
        for name, entry in STUDY["classifiers"].items()
    }
    return {"classifiers": canonical(classifiers), "size": STUDY["images"]["size"]}


def detail_layers(classifier):
    """Layers that are shown in detail: those that `figures.details` names, or the first and the fourth."""
    layers = STUDY["classifiers"][classifier]["layers"]
    chosen = STUDY["figures"]["details"]["layers"]
    shown = [layers[0], layers[min(3, len(layers) - 1)]] if chosen is None else chosen
    return [layer for layer in dict.fromkeys(shown) if layer in layers]


def detail_settings():
    details = STUDY["figures"]["details"]
    shown = {key: details[key] for key in ("recipes", "side")}
    return canonical(shown | {"images": STUDY["figures"]["images"]})
