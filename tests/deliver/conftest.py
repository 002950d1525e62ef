"""A small movie with sound, made once."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from delivered_plates import RATE


@pytest.fixture(scope="session")
def plate_with_sound(tmp_path_factory) -> Path:
    """Two seconds of 24000/1001 H.264 with two AAC tracks."""
    path = tmp_path_factory.mktemp("plate") / "plate.mp4"
    rng = np.random.default_rng(3)
    with av.open(str(path), "w") as movie:
        video = movie.add_stream("libx264", rate=RATE.fps, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sounds = [movie.add_stream("aac", rate=48000, layout="mono") for _ in range(2)]
        for i in range(48):
            picture = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 40 + 3 * i, np.uint8), "rgb24")
            picture.pts, picture.time_base = i, 1 / RATE.fps
            movie.mux(video.encode(picture))
        movie.mux(video.encode(None))
        for sound in sounds:
            for i in range(94):
                noise = av.AudioFrame.from_ndarray(rng.normal(0, 0.1, (1, 1024)).astype(np.float32), "fltp", "mono")
                noise.sample_rate, noise.pts, noise.time_base = 48000, i * 1024, Fraction(1, 48000)
                movie.mux(sound.encode(noise))
            movie.mux(sound.encode(None))
    return path
