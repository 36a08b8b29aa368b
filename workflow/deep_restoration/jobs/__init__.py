"""What a Snakemake job needs around the mathematics. The only package that knows Snakemake.

An edit here reruns nothing, but of `shards`, which decides what a job computes.
"""
