"""Encoding a corpus of files into an index."""
