"""From a corpus to the inputs of a training step: frames, captions, sampling and collation."""
