# Which photographs are moved to see how much each measure minds.


def test_folder(wildcards, threads):
    """`image_folder` of the test images, for a rule whose wildcards name no split."""
    return image_folder(Wildcards(fromdict={"split": "test"}), threads)


def moved_settings(wildcards):
    """The test photographs as files; of embedded ones all, however many crops the study has."""
    settings = image_settings(Wildcards(fromdict={"split": "test"}))
    used = ("source", "size", *["content", "count"] * (settings["source"] == "folder"))
    layers = STUDY["classifiers"][wildcards.classifier]["layers"]
    return canonical({key: settings[key] for key in used} | {"layers": layers})
