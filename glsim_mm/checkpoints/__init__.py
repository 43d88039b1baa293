"""Reading weights of other projects."""
