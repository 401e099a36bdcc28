"""Two-stage search with the exact DMAE score."""
