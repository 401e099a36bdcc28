"""The subcommands of `dmae` that belong to the index, one module each."""
