"""Videos that an index holds more than once, found without a model."""
