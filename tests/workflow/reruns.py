"""Rules that rerun together, because they follow from the same change."""

# What always follows a change of reconstructions, of measures, of pictures.
MEASURED = {"tables", "plot_measures", "plot_reconstructions", "plot_details", "report", "all"}
# What follows from measuring as the papers did, from the traces.
PAPERS = {"paper_measures", "published_tables", "plot_published", "report", "all"}
TIMED = {"time_to_quality", "plot_time_to_quality", "report", "all"}
# What follows from measuring moved photographs.
MOVED = {"measure_moved", "moved_table", "plot_moved", "report", "all"}
# What is told of learned priors, of images and of maps; restored images are among what they are asked.
MAPS_TOLD = {"naturalness_of_maps", "plot_naturalness_of_maps", "prior_tables", "report", "all"}
TOLD = {"naturalness", "plot_naturalness"} | MAPS_TOLD
RESTORED = {"reconstruct", "evaluate", "plot_overview"} | MEASURED | PAPERS | TIMED | TOLD
DENOISED = {"denoise", "plot_denoising", "prior_tables", "report", "all"}
LEARNED = {"train_prior", "describe_filters", "plot_prior", "naturalness"} | DENOISED
# What follows a change of inverse networks, besides the recipes that use them.
COMPARED = {"evaluate_inverters", "inverter_tables", "plot_inverters", "report", "all"}
# What always follows a change of the statistics of feature maps, of linear inverses.
MAPPED = {"feature_statistics", "plot_statistics", "plot_layers", "report", "all"}
INVERTED = {"linear_inverse", "plot_linear_inverse", "report", "all"}
# What follows a change of the images from several starts, of the study of added priors.
GATHERED = {"starts_table", "plot_ambiguity", "report", "all"}
STARTED = {"restore_starts", "measure_starts", "plot_starts"} | GATHERED
ADDED = {"add_priors", "adding_table", "plot_adding", "report", "all"}

# What follows a change of pictures other than restored images.
VISUALISED = {"visualise", "plot_visualisations", "report", "all"}
# What follows a change of the classifier.
CLASSIFIED = {"classifier", "plot_classifier", "features", "search", "feature_patches"}
CLASSIFIED |= {"plot_patches", "train_inverter", "train_feature_prior"} | COMPARED | MAPPED
CLASSIFIED |= INVERTED | RESTORED | STARTED | ADDED | VISUALISED | MOVED
