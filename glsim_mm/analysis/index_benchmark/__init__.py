"""What kinds of index cost and find, on embeddings that are made up."""
