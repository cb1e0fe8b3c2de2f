"""Long proofs, each a seeded script; their results are pages in docs/."""
