"""Rules that rerun together, because they follow from the same change."""

# What always follows a change of reconstructions, of measures, of pictures.
MEASURED = {"tables", "plot_measures", "plot_reconstructions", "plot_details", "report", "all"}
# What follows from measuring as the papers did, from the traces.
PAPERS = {"paper_measures", "published_tables", "plot_published", "report", "all"}
TIMED = {"time_to_quality", "plot_time_to_quality", "report", "all"}
# What follows from measuring moved photographs.
MOVED = {"measure_moved", "moved_table", "plot_moved", "report", "all"}
# What is told of learned priors, of images and of maps; reconstructed images are among what they are asked.
MAPS_TOLD = {
    "discrimination_of_maps",
    "plot_discrimination_of_maps",
    "prior_tables",
    "report",
    "all",
}
TOLD = {"discrimination", "plot_discrimination"} | MAPS_TOLD
Reconstructed = (
    {"reconstruct", "evaluate", "plot_overview", "write_pictures"}
    | MEASURED
    | PAPERS
    | TIMED
    | TOLD
)
DENOISED = {"denoise", "plot_denoising", "prior_tables", "report", "all"}
LEARNED = {"train_prior", "describe_filters", "plot_prior", "discrimination"} | DENOISED
# What follows a change of inverse networks, besides the recipes that use them.
COMPARED = {"evaluate_inverters", "inverter_tables", "plot_inverters", "report", "all"}
# What always follows a change of the statistics of feature maps, of linear inverses.
MAPPED = {"feature_statistics", "plot_statistics", "plot_layers", "report", "all"}
INVERTED = {"linear_inverse", "plot_linear_inverse", "report", "all"}
# What follows a change of the images from several restarts, of the study of added priors.
GATHERED = {"restarts_table", "plot_ambiguity", "report", "all"}
STARTED = {"reconstruct_restarts", "measure_restarts", "plot_restarts"} | GATHERED
ADDED = {"select_priors", "prior_selection_table", "plot_prior_selection", "report", "all"}

# What follows a change of pictures other than reconstructed images.
VISUALISED = {"visualise", "plot_visualisations", "report", "all"}
# What follows a change of the classifier.
CLASSIFIED = {"classifier", "plot_classifier", "features", "search", "feature_patches"}
CLASSIFIED |= (
    {"fit_surrogates", "plot_patches", "train_inverter", "train_feature_prior"} | COMPARED | MAPPED
)
CLASSIFIED |= INVERTED | Reconstructed | STARTED | ADDED | VISUALISED | MOVED
