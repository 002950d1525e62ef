"""MediaPipe's custom TFLite operations, written with ONNX primitives.

The attention mesh looks at lips and eyes again through 16x16 windows cut from its feature map. Three operations do
that: *Landmarks2TransformMatrix* (landmarks -> where the window lies), *TransformTensorBilinear* (cut the window) and
*TransformLandmarks* (carry the window's landmarks back). Batched throughout; N is the first axis.

Conventions: landmarks are (N, count, 2 or 3) in feature-map units; a window matrix is (N, 4, 4) and maps window corner
coordinates (x, y, 0, 1) to feature-map corner coordinates, as in mediapipe/util/tflite/operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from digidouble.weights.onnx_graph import GraphBuilder


def landmarks_to_matrix(g: GraphBuilder, landmarks: str, options: dict[str, Any], output: str) -> str:
    """Window matrix: rotation from two landmarks, centre and size from the rotated box of a subset.

    Cosine and sine are taken from the unit vector between the two landmarks, so that no arc tangent is needed.
    """

    def axis(value: str, j: int) -> str:
        return g.slice(value, j, j + 1, axis=2)

    def gather(indices: list[int]) -> str:
        return g.slice(g.add("Gather", [landmarks, g.const(indices)], axis=1), 0, 2, axis=2)

    def combine(first: str, a: str, op: str, second: str, b: str) -> str:
        return g.add(op, [g.add("Mul", [first, a]), g.add("Mul", [second, b])])

    if options["target_rotation_radians"] != 0:
        raise ValueError(f"target_rotation_radians is {options['target_rotation_radians']}, only 0 is supported")
    direction = g.add("Sub", [gather([options["right_rotation_idx"]]), gather([options["left_rotation_idx"]])])
    unit = g.add("Div", [direction, g.add("ReduceL2", [direction], axes=[2], keepdims=1)])
    cos, sin = axis(unit, 0), axis(unit, 1)

    subset = gather(list(options["subset_idxs"]))
    x, y = axis(subset, 0), axis(subset, 1)
    along, across = combine(x, cos, "Add", y, sin), combine(y, cos, "Sub", x, sin)
    half = g.const(0.5)
    centre, size = [], []
    for value in (along, across):
        high = g.add("ReduceMax", [value], axes=[1], keepdims=1)
        low = g.add("ReduceMin", [value], axes=[1], keepdims=1)
        centre.append(g.add("Mul", [g.add("Add", [high, low]), half]))
        size.append(g.add("Sub", [high, low]))
    centre_x, centre_y = combine(centre[0], cos, "Sub", centre[1], sin), combine(centre[0], sin, "Add", centre[1], cos)

    width, height = options["output_width"], options["output_height"]
    step_x = g.add("Mul", [size[0], g.const(options["scale_x"] / width)])
    step_y = g.add("Mul", [size[1], g.const(options["scale_y"] / height)])
    xx, xy = g.add("Mul", [cos, step_x]), g.add("Neg", [g.add("Mul", [sin, step_y])])
    yx, yy = g.add("Mul", [sin, step_x]), g.add("Mul", [cos, step_y])
    half_w, half_h = g.const(width / 2), g.const(height / 2)
    tx = g.add("Sub", [centre_x, combine(xx, half_w, "Add", xy, half_h)])
    ty = g.add("Sub", [centre_y, combine(yx, half_w, "Add", yy, half_h)])

    zero = g.add("Mul", [xx, g.const(0.0)])  # carries the batch size
    one = g.add("Add", [zero, g.const(1.0)])
    rows = [[xx, xy, zero, tx], [yx, yy, zero, ty], [zero, zero, one, zero], [zero, zero, zero, one]]
    return g.add("Concat", [g.add("Concat", row, axis=2) for row in rows], output, axis=1)


def transform_tensor(
    g: GraphBuilder, feature: str, feature_hw: tuple[int, int], matrix: str, options: dict[str, Any], output: str
) -> str:
    """Cut a window from an NCHW feature map: bilinear at (matrix @ pixel centre) - 0.5, zero outside the map."""
    out_h, out_w = options["output_height"], options["output_width"]
    in_h, in_w = feature_hw
    y, x = (v.ravel() for v in np.mgrid[0:out_h, 0:out_w].astype(np.float32))
    corners = np.stack([x + 0.5, y + 0.5, np.zeros_like(x), np.ones_like(x)])
    at = g.add("Sub", [g.add("MatMul", [g.slice(matrix, 0, 2, axis=1), g.const(corners)]), g.const(0.5)])  # N 2 HW

    last = g.const(np.array([[[in_w - 1]], [[in_h - 1]]], np.float32).reshape(1, 2, 1))
    inside = g.add("And", [g.add("GreaterOrEqual", [at, g.const(0.0)]), g.add("LessOrEqual", [at, last])])
    mask = g.add("ReduceMin", [g.add("Cast", [inside], to=1)], axes=[1], keepdims=1)
    mask = g.add("Reshape", [mask, g.const([-1, 1, out_h, out_w])])

    # GridSample(align_corners=1): -1 is the centre of the first pixel, +1 that of the last.
    normalised = g.add("Sub", [g.add("Div", [g.add("Mul", [at, g.const(2.0)]), last]), g.const(1.0)])
    grid = g.add("Reshape", [g.add("Transpose", [normalised], perm=[0, 2, 1]), g.const([-1, out_h, out_w, 2])])
    window = g.add("GridSample", [feature, grid], mode="bilinear", padding_mode="zeros", align_corners=1)
    return g.add("Mul", [window, mask], output)


def transform_landmarks(g: GraphBuilder, landmarks: str, dimensions: int, matrix: str, output: str) -> str:
    """Apply the 2D part of a window matrix to landmarks; a third coordinate passes unchanged."""
    top = g.slice(matrix, 0, 2, axis=1)
    linear = g.add("Transpose", [g.slice(top, 0, 2, axis=2)], perm=[0, 2, 1])
    shift = g.add("Transpose", [g.slice(top, 3, 4, axis=2)], perm=[0, 2, 1])
    moved = g.add("MatMul", [g.slice(landmarks, 0, 2, axis=2), linear])
    if dimensions == 2:
        return g.add("Add", [moved, shift], output)
    return g.add("Concat", [g.add("Add", [moved, shift]), g.slice(landmarks, 2, 3, axis=2)], output, axis=2)
