"""The content gate: refusals, records, the real network on public-domain pictures."""

from __future__ import annotations

import numpy as np
import pytest

from digidouble.errors import ContentRefused, WeightsError
from digidouble.perception.content import ContentGate, content_score


class Says:
    """A network that gives the scores it was told, one after the other."""

    def __init__(self, *scores):
        self.scores, self.seen = list(scores), []

    def run(self, inputs):
        (picture,) = inputs.values()
        self.seen.append(picture)
        score = self.scores.pop(0)
        return {"softmax": np.array([[1 - score, score]], np.float32)}


PICTURE = np.full((90, 160, 3), (200, 100, 50), np.uint8)


def test_the_threshold_refuses_and_everything_is_on_record():
    gate = ContentGate(runner=Says(0.1, 0.79, 0.81))
    gate.look("plate", 0, PICTURE)
    gate.look("plate", 5, PICTURE)
    assert gate.record()["decision"] == "passed"
    with pytest.raises(ContentRefused, match=r"result's frame 3 .*0\.81.*Nothing was written"):
        gate.look("result", 3, PICTURE)
    record = gate.record()
    assert record["decision"] == "refused" and record["model"] == "open-nsfw" and record["threshold"] == 0.8
    assert [(f["where"], f["frame"]) for f in record["frames"]] == [("plate", 0), ("plate", 5), ("result", 3)]


@pytest.mark.parametrize("shape", [(90, 160, 3), (2000, 1500, 3), (1, 4000, 3)])
def test_what_the_network_is_shown(shape):
    runner = Says(0.5)
    assert content_score(runner, np.full(shape, (200, 100, 50), np.uint8)) == pytest.approx(0.5)
    (seen,) = runner.seen
    assert seen.shape == (1, 224, 224, 3) and seen.dtype == np.float32
    mean = np.array([50, 100, 200]) - [104, 117, 123]  # blue first, less the training mean
    assert np.abs(seen.reshape(-1, 3).mean(0) - mean).max() < 2


@pytest.mark.real_gate
def test_the_real_network_passes_portraits(request):
    from importlib import util

    import cv2

    spec = util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("scikit-image is not installed")
    try:
        gate = ContentGate()
    except WeightsError as error:
        pytest.skip(f"weights cannot be had here: {error}")
    for n, name in enumerate(("astronaut.png", "coffee.png", "chelsea.png")):
        picture = cv2.imread(f"{spec.submodule_search_locations[0]}/data/{name}")
        if picture is not None:
            assert gate.look("plate", n, np.ascontiguousarray(picture[..., ::-1])) < 0.2


@pytest.mark.real_gate
def test_without_weights_and_network_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIDOUBLE_CACHE", str(tmp_path))
    monkeypatch.setenv("DIGIDOUBLE_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"open_nsfw.*onnx"):
        ContentGate()
