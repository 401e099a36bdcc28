"""What the server of the decoder's forks imports: `decoding`, with the collector kept out as in `serve`."""

import gc

gc.disable()
from . import decoding  # noqa: E402, F401

gc.freeze()
gc.enable()
