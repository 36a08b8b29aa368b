"""What a Snakemake job needs around the mathematics. The only package that depends on Snakemake.

An edit here reruns nothing, except in `shards`, which decides what a job computes.
"""
