"""Retrieval metrics of a model on a corpus."""
