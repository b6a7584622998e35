"""Downloading the corpora that may be had freely."""
