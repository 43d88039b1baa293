"""Studies of region selection, its cost and its quality, for command lines and notebooks."""
