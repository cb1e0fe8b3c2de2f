"""The long proof of `repair`: `make repair-bed` writes docs/proofs/repair.md with it."""
