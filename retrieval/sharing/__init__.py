"""An index or its results handed to others: the Hub, a self-contained page."""
