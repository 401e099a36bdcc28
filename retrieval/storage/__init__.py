"""What an index keeps on disk: the LanceDB table, its rows and its schema."""
