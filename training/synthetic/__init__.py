"""A drawn corpus of moving shapes with captions, and small models made for it."""
