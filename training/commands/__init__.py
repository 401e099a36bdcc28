"""The subcommands of `dmae` that belong to training, one module each; what is heavy is imported when one runs."""
