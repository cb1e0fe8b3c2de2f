"""A command without its command line: opens inputs, calls parts in order. Nothing here prints."""
