"""Holds the version of this package, in the one place that says it. Nothing else."""

__version__ = "0.2.0"
