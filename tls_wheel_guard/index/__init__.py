"""Where the wheels of an index come from, how little of them is read, and where the answers are kept."""
