"""Real people who show an emotion: which frames of which clip, who it is, and why it is taken for that emotion.

Labels come from what made the clips: the file's own name (MEAD, an actor told what to feel), the list of the clips (`MANIFEST.md`: "man
CRYING"), else from the face itself, by the action units that define the emotion (EMFACS), seen on contact sheets of these clips before any
render was judged. They are one person's reading. Frames count from 0 of the clip; what is not listed is not used.
"""

from __future__ import annotations

from dataclasses import dataclass

Spans = tuple[tuple[int, int], ...]
ALL: Spans = ((0, 10**6),)
PHOTO = "photo:"  # a picture of `photos/` beside the clips, not a clip


@dataclass(frozen=True)
class Take:
    """`spans`: first and last frames. `emotion` "neutral": the person talks or rests, and is their own rest."""

    person: str
    clip: str
    emotion: str
    why: str
    spans: Spans = ALL

    @property
    def name(self) -> str:
        return f"{self.person}, {self.emotion}"


_MEAD = "the actor's task, in the file's name"
TAKES: tuple[Take, ...] = (
    Take("actor 1", "emotion_happy", "joy", _MEAD),
    Take("talker", "happy_talk", "joy", "listed as exaggerated happy talk; the laughing beginning apart", ((26, 10**6),)),
    Take("smiler", "smile_30fps", "joy", "listed as smiling; corners and cheeks up", ((24, 66),)),
    Take("grinner", "grin_greenscreen", "joy", "listed as neutral to grin; the grin", ((23, 64),)),
    Take("outdoors", "outdoors_small", "joy", "smiles with raised cheeks throughout"),
    Take("puffed", "puffed_cheeks", "joy", "lips shut, corners and cheeks up", ((296, 360),)),
    Take("studio", "glasses_studio", "joy", "corners up on both sides", ((84, 96), (158, 178), (232, 250))),
    Take("hand", "funny_hand_chin", "joy", "laughs at the end, teeth shown", ((213, 255),)),
    Take("tilt", "expressions_tilt", "joy", "smiles, eyes nearly shut", ((132, 200),)),
    Take("presenter", "presenter_portrait_1080x1920", "joy", "smiles between two sentences", ((204, 250),)),
    Take("glasses", "laugh_glasses", "joy", "smiles before he laughs", ((18, 33),)),
    Take("manga", "laugh_15fps", "laughter", "listed as a big continuous laugh"),
    Take("talker", "happy_talk", "laughter", "head back, mouth wide, all teeth", ((0, 24),)),
    Take("glasses", "laugh_glasses", "laughter", "listed as a big laugh; the laughs", ((36, 48), (176, 183))),
    Take("actor 2", "emotion_sad", "sadness", _MEAD),
    Take("tilt", "expressions_tilt", "sadness", "corners down, lower lip out, inner brows up", ((270, 302), (348, 372), (396, 456))),
    Take("studio", "glasses_studio", "sadness", "corners down, chin raised", ((114, 148),)),
    Take("lamp", "wide_turns_lamp", "sadness", "inner brows up, corners down, looks up", ((170, 205),)),
    Take("presenter", "presenter_portrait_1080x1920", "sadness", "inner brows up and together, pleads", ((376, 432),)),
    Take("crying man", "crying_man", "crying", "listed as crying"),
    Take("old man", "sad_glasses_dark", "crying", "listed as crying"),
    Take("rage", "rage_fast", "anger", "listed as rage"),
    Take("lamp", "wide_turns_lamp", "anger", "listed as frowning; brows down and together, lips pressed", ((110, 165), (228, 275))),
    Take("stock", f"{PHOTO}stock-emotions-a-5", "anger", "brows down and together, lips pressed"),
    Take("rolled", "eyes_rolled_12fps", "anger", "brows down, stares, teeth bared", ((4, 8),)),
    Take("actor 3", "emotion_fear", "fear", _MEAD),
    Take("yaw", "expressions_yaw", "fear", "eyes wide, brows up and together, lips drawn apart", ((276, 312), (342, 348))),
    Take("stock", f"{PHOTO}stock-emotions-a-8", "fear", "brows up and together, eyes wide, lower lip drawn"),
    Take("actor 3", "emotion_surprised", "surprise", _MEAD),
    Take("yaw", "expressions_yaw", "surprise", "brows up, eyes wide, jaw down", ((6, 14), (94, 116))),
    Take("tilt", "expressions_tilt", "surprise", "brows up, eyes wide", ((72, 100),)),
    Take("lamp", "wide_turns_lamp", "surprise", "brows up, eyes wide, jaw down", ((300, 350),)),
    Take("glasses", "laugh_glasses", "surprise", "brows up, jaw down", ((118, 132),)),
    Take("puffed", "puffed_cheeks", "surprise", "brows up, eyes wide", ((470, 484), (494, 500), (510, 514))),
    Take("actor 4", "emotion_disgusted", "disgust", _MEAD),
    Take("lamp", "wide_turns_lamp", "disgust", "nose wrinkled, upper lip up, eyes narrowed", ((8, 22),)),
    Take("stock", f"{PHOTO}stock-emotions-a-4", "disgust", "nose wrinkled, upper lip up, teeth"),
    Take("rolled", "eyes_rolled_12fps", "disgust", "nose wrinkled, eyes shut, lip up", ((25, 28), (45, 48))),
    Take("actor 5", "emotion_contempt", "contempt", _MEAD),
    Take("studio", "glasses_studio", "contempt", "one corner drawn", ((10, 22), (44, 64), (194, 218))),
    Take("puffed", "puffed_cheeks", "contempt", "one corner drawn", ((534, 554),)),
    Take("GRID 1", "grid_talk_1", "neutral", "reads a sentence"),
    Take("GRID 2", "grid_talk_2", "neutral", "reads a sentence"),
    Take("GRID 3", "grid_talk_3", "neutral", "reads a sentence"),
    Take("bank", "talk_700px", "neutral", "reads calmly"),
    Take("waist", "waist_up", "neutral", "looks calmly"),
    Take("window", "turn_window_720p", "neutral", "looks calmly"),
    Take("webcam", "webcam_hand_at_chin", "neutral", "sits and talks a little"),
    Take("Franck", "talk_200s", "neutral", "talks"),
    Take("dancer", "dance_hands_face", "neutral", "sings calmly"),
)  # fmt: skip
RESTS: dict[str, tuple[tuple[str, Spans], ...]] = {
    "smiler": (("smile_30fps", ((0, 16),)),),
    "grinner": (("grin_greenscreen", ((0, 14), (71, 78))),),
    "puffed": (("puffed_cheeks", ((0, 34), (392, 450))),),
    "studio": (("glasses_studio", ((0, 1), (28, 40), (100, 112), (180, 190))),),
    "yaw": (("expressions_yaw", ((0, 3), (28, 32))),),
    "tilt": (("expressions_tilt", ((216, 262), (330, 344), (460, 534))),),
    "lamp": (("wide_turns_lamp", ((22, 32), (50, 105))),),
    "glasses": (("laugh_glasses", ((0, 5), (12, 16), (94, 102), (136, 160))),),
    # One look straight and one with a trace of a smile: no photograph shows her quite at rest.
    "stock": ((f"{PHOTO}stock-emotions-a-3", ALL), (f"{PHOTO}stock-emotions-a-7", ALL)),
    "rolled": (("eyes_rolled_12fps", ((10, 14), (19, 22))),),
    "hand": (("funny_hand_chin", ((84, 120),)),),
}
"""Frames in which a person of `TAKES` shows nothing. Who is not here nor "neutral" has none: the rest of all others stands in."""


def wanted() -> list[tuple[str, Spans]]:
    """Every (clip, spans) that the judge looks at, once."""
    return list(
        dict.fromkeys([(t.clip, t.spans) for t in TAKES] + [place for rest in RESTS.values() for place in rest])
    )
