"""Long proofs, each a script of its own; their results are in docs/."""
