"""On real clips: bit for bit the frames that decoding everything gives."""

import av
import numpy as np
import pytest
from places import CLIPS

from dmae.modeling.video_pixels import FrameConverter
from dmae.modeling.video_reading import read_frames

PATHS = sorted(path for path in CLIPS.glob("*.m*") if path.suffix in (".mp4", ".mkv"))


@pytest.mark.skipif(not PATHS, reason=f"the real clips are not at {CLIPS}")
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_frames_are_those_of_decoding_everything(path):
    with av.open(str(path)) as container:
        frames = sorted(container.decode(video=0), key=lambda frame: frame.pts)
        times = np.array([frame.time for frame in frames])
        convert = FrameConverter(pixel_aspect=container.streams.video[0].sample_aspect_ratio or 1)
    found = read_frames(path, 12)
    moments = times[0] + (np.arange(12) + 0.5) * found.duration / 12
    shown = np.searchsorted(times, moments + 1e-6, side="right") - 1
    assert found.timestamps == pytest.approx(times[shown] - times[0])
    assert np.array_equal(found.frames, np.stack([convert(frames[index]) for index in shown]))
    assert found.warnings == ()
