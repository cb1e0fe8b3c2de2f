"""The version, in the one place where it is written. Imports nothing: ``--version`` must start as fast as Python does."""

__version__ = "0.1.0"
