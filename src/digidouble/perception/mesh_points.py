"""Which of the 478 mesh points the attention mesh refines, in the order in which its heads give them.

Points 0..467 are MediaPipe's face mesh, 468..472 the iris on the side of point 33 (the subject's right): centre and
four points of its rim; 473..477 that of the subject's left. From MediaPipe's landmarks_refinement_calculator options.
"Left" and "right" are the subject's; the network's own tensor names mean the picture's sides.
"""

from __future__ import annotations

POINTS = 478
SURFACE_POINTS = 468

RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_INNER, LEFT_EYE_OUTER = 33, 133, 362, 263
NOSE_TIP, RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER = 1, 61, 291
RIGHT_IRIS, LEFT_IRIS = 468, 473

# fmt: off
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409, 78, 95, 88, 178, 87,
    14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415, 76, 77, 90, 180, 85, 16, 315, 404, 320,
    307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408, 62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42,
    41, 38, 12, 268, 271, 272, 407,
)
RIGHT_EYE = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110, 24, 23, 22, 26, 112,
    243, 247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221,
    189, 35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193,
)
LEFT_EYE = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255, 339, 254, 253, 252,
    256, 341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444,
    443, 442, 441, 413, 265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465, 383, 300, 293,
    334, 296, 336, 285, 417,
)
# fmt: on
RIGHT_EYE_RIM, LEFT_EYE_RIM = RIGHT_EYE[:16], LEFT_EYE[:16]
RIGHT_IRIS_POINTS, LEFT_IRIS_POINTS = tuple(range(468, 473)), tuple(range(473, 478))

# Tensor of the network -> mesh points whose x and y it replaces.
REFINED_XY = {
    "output_lips": LIPS,
    "output_left_eye": RIGHT_EYE,
    "output_right_eye": LEFT_EYE,
    "output_left_iris": RIGHT_IRIS_POINTS,
    "output_right_iris": LEFT_IRIS_POINTS,
}
# An iris has no depth of its own: it takes the mean depth of its eye's rim.
IRIS_DEPTH = ((RIGHT_IRIS_POINTS, RIGHT_EYE_RIM), (LEFT_IRIS_POINTS, LEFT_EYE_RIM))
