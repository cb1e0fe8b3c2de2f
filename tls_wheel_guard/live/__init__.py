"""The static TLS of a live interpreter: asked in a child process, and checked like any input."""
