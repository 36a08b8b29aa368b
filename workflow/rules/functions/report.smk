# Which figures the report shows, and where.


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
        if STUDY["restarts"]:
            for recipe in STUDY["restarts"]["recipe"]:
                add("restarts", "{classifier}/restarts/{recipe}", classifier=name, recipe=recipe)
            add("ambiguity", "{classifier}/ambiguity", classifier=name)
        if STUDY["prior_selection"] and with_layers_in_front(name):
            for kind in ("prior_selection", "prior_selection_images"):
                add(kind, f"{{classifier}}/{kind}", classifier=name)
        add("classifier", "{classifier}/classifier", classifier=name)
        if STUDY["inverters"]:
            for kind in ("inverters", "inversions", "inverter_training"):
                add(kind, f"{{classifier}}/{kind}", classifier=name)
        for layer in entry["layers"]:
            add("statistics", "{classifier}/{layer}/statistics", classifier=name, layer=layer)
        for kind in ("stationarity", "sparsity", *["patches"] * bool(STUDY["patches"])):
            add(kind, f"{{classifier}}/{kind}", classifier=name)
        for kind in ("linear_inverse", "linear_reconstructions") if STUDY["linear_inverse"] else ():
            add(kind, f"{{classifier}}/{kind}", classifier=name)
    for classifier, kind, name in visualisation_figures():
        path, label = "{classifier}/{kind}/{visualisation}", {"visualisation": name, "kind": kind}
        add("visualisations", path, classifier=classifier, **label)
    for colour in ("images", "grey"):
        if denoised("h5", colour):
            add("denoising", "denoising/{colour}", colour=colour)
    if priors_of("images", "grey"):
        add("discrimination", "discrimination")
    for name in priors_of("images", "grey"):
        add("prior", "priors/{prior}", prior=name)
    if priors_of("features"):
        for name, entry in STUDY["classifiers"].items():
            for layer in entry["layers"]:
                path = "{classifier}/{layer}/discrimination"
                add("discrimination_of_maps", path, classifier=name, layer=layer)
    order = list(dict.fromkeys(REPORT_SECTIONS.values()))
    return sorted(found, key=lambda entry: order.index(entry["section"]))


def detail_layers(classifier):
    """Layers that are shown in detail: those that `figures.details` names, or the first and the fourth."""
    layers = STUDY["classifiers"][classifier]["layers"]
    chosen = STUDY["figures"]["details"]["layers"]
    shown = [layers[0], layers[min(3, len(layers) - 1)]] if chosen is None else chosen
    return [layer for layer in dict.fromkeys(shown) if layer in layers]


def all_figures():
    """Paths of the figures that the report shows."""
    return [entry["path"] for entry in figure_entries()]


def study_files(name):
    """Table and figures of a study that the configuration may leave out: `restarts`, `prior_selection`."""
    captions = {
        "restarts": ("restarts", "ambiguity"),
        "prior_selection": ("prior_selection", "prior_selection_images"),
    }[name]
    figures = [entry["path"] for entry in figure_entries() if entry["caption"] in captions]
    return [f"results/tables/{name}.csv", *figures] if STUDY[name] else []
