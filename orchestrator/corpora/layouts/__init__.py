"""One file per kind of corpus: from its files as distributed to the same table."""
