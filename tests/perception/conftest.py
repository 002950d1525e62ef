"""The networks, loaded once, and two photographs that scikit-image carries (public domain, NASA)."""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import numpy as np
import pytest

from digidouble.errors import WeightsError
from digidouble.perception.detector import FaceDetector
from digidouble.perception.identity import IdentityEmbedder
from digidouble.perception.mesh import FaceMesher, roi_from_detection, roi_from_mesh
from digidouble.perception.segment import PersonSegmenter


def loaded(make):
    try:
        return make()
    except WeightsError as error:
        pytest.skip(f"weights cannot be had here: {error}")


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    return loaded(FaceDetector)


@pytest.fixture(scope="session")
def mesher() -> FaceMesher:
    return loaded(FaceMesher)


@pytest.fixture(scope="session")
def embedder() -> IdentityEmbedder:
    return loaded(IdentityEmbedder)


@pytest.fixture(scope="session")
def segmenter() -> PersonSegmenter:
    return loaded(PersonSegmenter)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """512x512, one face, smiling, eyes at about (203, 101) and (246, 103)."""
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut())


@pytest.fixture(scope="session")
def settled(detector, mesher, astronaut):
    """The astronaut's region after two tracking steps, and her mesh in it."""
    roi = roi_from_detection(detector.detect(astronaut)[0])
    for _ in range(2):
        roi = roi_from_mesh(mesher.mesh(astronaut, roi[None])[0].points_px)
    return roi, mesher.mesh(astronaut, roi[None])[0]


@pytest.fixture(scope="session")
def shared_faces() -> dict[str, list[np.ndarray]]:
    """Three moments of each of three people, from the development clips that lie beside the checkout."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips"
    names = ("grin_greenscreen", "glasses_studio", "waist_up")
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    pictures = {}
    for name in names:
        with av.open(str(folder / f"{name}.mp4")) as container:
            frames = itertools.islice(container.decode(video=0), 0, 61, 30)
            pictures[name] = [f.to_ndarray(format="rgb24") for f in frames]
    return pictures
