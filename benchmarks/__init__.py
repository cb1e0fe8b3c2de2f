"""The guard beside its peers and beside the truth: one command a table. Nothing here is part of the package."""
