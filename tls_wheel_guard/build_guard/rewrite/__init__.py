"""``action = "rewrite"``: the same build, compiled with global-dynamic."""
