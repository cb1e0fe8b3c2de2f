"""The only code that opens wheels, files and folders for reading. ``opening.open_input`` is the way in."""
