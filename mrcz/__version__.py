"""The version of this package, and of the label in the files that it writes."""

__version__ = "1.0.0"
