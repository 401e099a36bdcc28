"""A trained model out to the world: cards, pushing, converting."""
