from __future__ import annotations

import cv2
import numpy as np


def test_person_with_hair_is_one_and_wall_is_zero(segmenter, astronaut):
    matte = segmenter.matte(astronaut)
    assert matte.shape == (512, 512)
    assert matte.min() >= 0
    assert matte.max() <= 1
    assert matte[70:150, 195:255].min() > 0.9  # face
    assert matte[35:50, 205:250].min() > 0.9  # hair above it
    assert matte[300:450, 80:300].mean() > 0.9  # suit
    assert matte[20:150, 330:360].max() < 0.1  # wall between her and the model
    assert matte[20:140, 60:130].max() < 0.1


def test_matte_follows_the_picture(segmenter, astronaut):
    mirrored = segmenter.matte(np.ascontiguousarray(astronaut[:, ::-1]))[:, ::-1]
    assert np.abs(mirrored - segmenter.matte(astronaut)).mean() < 0.05
    wide = cv2.resize(astronaut, (1500, 777), interpolation=cv2.INTER_CUBIC)
    matte = segmenter.matte(wide)
    assert matte.shape == (777, 1500)
    back = cv2.resize(matte, (512, 512), interpolation=cv2.INTER_AREA)
    assert np.abs(back - segmenter.matte(astronaut)).mean() < 0.02


def test_nobody_in_a_gradient(segmenter):
    ramp = np.repeat(np.linspace(0, 255, 400).astype(np.uint8)[None, :, None], 300, axis=0).repeat(3, axis=2)
    assert segmenter.matte(ramp).mean() < 0.2
