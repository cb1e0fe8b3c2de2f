"""The only code that opens wheels, files and folders for reading."""
