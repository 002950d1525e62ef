"""The matte recipe's pure parts against independent truth, and the shipped network against its contract."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from recipes import load

from digidouble.perception.matte import hull
from digidouble.schema.mesh import face_model

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "src" / "digidouble" / "shipped" / "matte.onnx"


crop, bases, occluders = load("matte", "crop", "bases", "occluders")


def oval_mesh(width: float, height: float) -> np.ndarray:
    """478 points of an upright face round the origin: the oval an ellipse, the eyes level, the rest inside."""
    random = np.random.default_rng(0)
    points = random.uniform(-0.1, 0.1, (478, 2)) * (width, height)
    turn = np.linspace(0, 2 * np.pi, len(crop.OVAL), endpoint=False)
    points[list(crop.OVAL)] = np.c_[np.sin(turn) * width / 2, -np.cos(turn) * height / 2]
    points[33], points[263] = (-0.3 * width, -0.1 * height), (0.3 * width, -0.1 * height)
    return points


def test_crop_undoes_any_similarity() -> None:
    """A face turned, scaled and moved in the plate lands on the same crop pixels: the oval's box, centred, at 1 / 1.3."""
    upright = oval_mesh(150.0, 200.0)
    expected = upright * (128 / (1.3 * 200.0)) + 63.5
    for angle, scale, shift in ((0.0, 1.0, (0, 0)), (0.7, 2.5, (900, 300)), (-2.9, 0.2, (-40, 77))):
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        plate = scale * upright @ rotation.T + shift
        found = crop.apply(crop.crop_from_mesh(plate), plate)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "points", [np.zeros((478, 2)), np.zeros((5, 2)), np.full((478, 2), np.nan), np.zeros(478)], ids=str
)
def test_crop_refuses_what_is_no_mesh(points: np.ndarray) -> None:
    """No extent, too few points, not finite, not a list of points."""
    with pytest.raises(ValueError, match="mesh"):
        crop.crop_from_mesh(points)


def test_hull_mask_is_the_ovals_coverage() -> None:
    """The mask's sum is the polygon's area (shoelace), its edge is soft, the centre full and the corner empty."""
    points = crop.apply(crop.crop_from_mesh(oval_mesh(150.0, 200.0)), oval_mesh(150.0, 200.0))
    mask = crop.hull_mask(points)
    x, y = points[list(crop.OVAL)].T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert mask.sum() / 255 == pytest.approx(area, rel=0.01)
    assert mask[64, 64] == 255 and mask[2, 2] == 0 and 20 < np.count_nonzero((mask > 10) & (mask < 245)) < 600


def test_the_recipe_sees_the_runtimes_hull() -> None:
    """A folded oval (a profile) is filled by the mesh's triangles, in training as at run time."""
    points = face_model().mean_cm * (1, -1, -1)
    c, s = np.cos(1.2), np.sin(1.2)
    turned = points @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    local = crop.apply(crop.crop_from_mesh(turned[:, :2] * 10), turned[:, :2] * 10)
    mask = crop.hull_mask(local)
    np.testing.assert_array_equal(mask, hull(local))
    only = np.zeros((128, 128), np.uint8)
    cv2.fillPoly(only, [np.round(local[list(crop.OVAL)]).astype(np.int32)], 255)
    assert (mask > 127).sum() > 1.1 * (only > 127).sum()


def test_label_finds_hair_inside_the_hull() -> None:
    """A skin-coloured oval with dark hair over the upper fifth of the hull: the label drops the hair and keeps the rest."""
    random = np.random.default_rng(1)
    points = oval_mesh(95.0, 124.0) + 112
    points[[105, 334, 66, 296], 1] = 95
    points[[61, 291], 1] = 145
    picture = np.full((224, 224, 3), (60, 90, 60), np.float64)
    hull = crop.hull_mask(points, 224) > 127
    picture[hull] = (120, 150, 205)
    hair = np.zeros_like(hull)
    hair[20:72, 50:174] = True
    picture[hair] = (25, 30, 35)
    picture = np.clip(picture + random.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
    label, weight = bases.label_of(picture, points, "hair")
    known = hull & (weight > 200)
    assert np.mean((label[known] > 127) == ~hair[known]) > 0.97
    assert weight[~hull].max() == 0


def test_label_finds_hair_that_hangs_over_the_core() -> None:
    """A dark curtain over one side, where a face used to be sure, is hair; brows and eyes that do not touch it stay face."""
    points = oval_mesh(95.0, 124.0) + 112
    points[[105, 334, 66, 296], 1] = 95
    for outer, side in ((33, -1), (263, 1)):
        ring = {33: (33, 160, 159, 158, 133, 153, 145, 144), 263: (263, 387, 386, 385, 362, 380, 374, 373)}[outer]
        turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
        points[list(ring)] = np.c_[112 + side * 22 + 7 * np.cos(turn), 105 + 3 * np.sin(turn)]
    points[[61, 291], 1] = 145
    picture = np.full((224, 224, 3), (60, 90, 60), np.uint8)
    hull_ = crop.hull_mask(points, 224) > 127
    picture[hull_] = (120, 150, 205)
    cv2.line(picture, (124, 92), (146, 92), (30, 35, 40), 4)  # the free brow
    curtain = np.zeros_like(hull_)
    curtain[20:150, 40:88] = True
    picture[curtain] = (25, 30, 35)
    plain, _ = bases.label_of(picture, points, "hair")
    label, weight = bases.label_of(picture, points, "locks")
    inside = curtain & hull_ & (weight > 200)
    assert (label[inside] < 128).mean() > 0.97 > 0.9 > (plain[curtain & hull_] < 128).mean()
    assert label[88:98, 120:150].min() == 255 and (label[hull_ & ~curtain & (weight > 200)] > 127).mean() > 0.97


def test_key_recovers_a_known_hand() -> None:
    """A skin-coloured shape on a vignetted wall: the layer holds the shape, none of the wall, and runs to the lower edge."""
    y, x = np.mgrid[0:256, 0:256]
    wall = 205 - 0.0008 * ((x - 128) ** 2 + (y - 128) ** 2)
    picture = np.dstack([wall, wall, wall])
    shape = np.zeros((256, 256), np.uint8)
    cv2.ellipse(shape, (128, 120), (40, 60), 0, 0, 360, 1, -1)
    shape[150:, 108:148] = 1
    picture[shape > 0] = (90, 130, 190)
    picture = np.clip(picture + np.random.default_rng(2).normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
    layer = occluders.keyed(picture)
    assert layer is not None and layer.shape == (occluders.LAYER, occluders.LAYER, 4)
    solid = layer[..., 3] > 200
    assert np.median(layer[solid][:, 0]) == pytest.approx(190, abs=6)
    assert np.mean(np.ptp(layer[solid][:, :3], axis=1) < 40) < 0.01  # wall grey would have R = G = B
    assert solid[-1].any() and not solid[0].any()
    rows = np.flatnonzero(shape.any(1))
    scale = 0.72 * occluders.LAYER / (rows[-1] - rows[0] + 1)
    assert solid[:100].any(0).sum() == pytest.approx(81 * scale, abs=4)


def test_key_refuses_a_bare_wall() -> None:
    """Nothing there is None, not a layer of noise."""
    wall = np.random.default_rng(3).normal(180, 2, (200, 200, 3)).astype(np.uint8)
    assert occluders.keyed(wall) is None


def test_drawn_layers_are_seeded_and_leave_the_eyes_of_clear_glasses_open() -> None:
    """Same generator, same layer; over many pairs of glasses most keep the eye's centre uncovered (not sunglasses)."""
    points = oval_mesh(95.0, 124.0) + 112
    for eye, inner, upper, lower in ((33, 133, 159, 145), (263, 362, 386, 374)):
        side = -1 if eye == 33 else 1
        points[[eye, inner, upper, lower]] = np.array([[28, 0], [10, 0], [19, -4], [19, 4]]) * (side, 1) + (112, 100)
    points[127], points[356] = (64, 100), (160, 100)
    open_eyes = 0
    for seed in range(20):
        frame, lens = occluders.glasses(np.random.default_rng(seed), points, 224)
        again, _ = occluders.glasses(np.random.default_rng(seed), points, 224)
        np.testing.assert_array_equal(frame, again)
        assert 60 < np.count_nonzero(frame[..., 3] > 60) < 12000 and frame.shape == lens.shape == (224, 224, 4)
        open_eyes += int(frame[98:103, 91:96, 3].max() < 60)
    assert 10 <= open_eyes < 20
    textures = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    for draw in (occluders.blob, occluders.microphone, occluders.cup, occluders.stick):
        first, second = (draw(np.random.default_rng(5), textures) for _ in range(2))
        np.testing.assert_array_equal(first, second)


def test_strands_are_seeded_soft_and_often_cover_an_eye() -> None:
    """Coverage between nothing and all where hairs are thin or apart; curtains and fringes reach the eyes, single hairs hardly."""
    eyes = (np.s_[72:88, 52:76], np.s_[72:88, 116:140])
    shares, soft = [], []
    for seed in range(40):
        layer = occluders.strands(np.random.default_rng(seed), np.zeros((0, 3)))
        np.testing.assert_array_equal(layer, occluders.strands(np.random.default_rng(seed), np.zeros((0, 3))))
        alpha = layer[..., 3]
        assert layer.shape == (occluders.LAYER, occluders.LAYER, 4) and 0.001 < (alpha > 60).mean() < 0.6
        shares.append(max((alpha[e] > 127).mean() for e in eyes))
        soft.append(((alpha > 20) & (alpha < 235)).sum() / max((alpha > 20).sum(), 1))
    assert 0.25 < np.mean(np.array(shares) > 0.3) < 0.8 and np.median(soft) > 0.15


def session(path: Path):
    """The network in onnxruntime, one thread."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.skipif(not SHIPPED.exists(), reason="the shipped network is not in this checkout")
def test_shipped_network_keeps_its_contract() -> None:
    """Small, any batch, values in 0..1, zero where the hull is zero, the same alone as in a batch."""
    assert SHIPPED.stat().st_size < 4_000_000
    net = session(SHIPPED)
    assert [(i.name, i.shape[1:]) for i in net.get_inputs()] == [("crop", [4, 128, 128])]
    assert [o.name for o in net.get_outputs()] == ["alpha"]
    pixels = np.random.default_rng(4).random((3, 4, 128, 128)).astype(np.float32)
    pixels[:, 3] = 0
    pixels[:, 3, 30:100, 30:100] = 1
    (alpha,) = net.run(None, {"crop": pixels})
    assert alpha.shape == (3, 1, 128, 128) and alpha.min() >= 0 and alpha.max() <= 1
    assert np.all(alpha[:, 0][pixels[:, 3] == 0] == 0)
    (alone,) = net.run(None, {"crop": pixels[1:2]})
    np.testing.assert_allclose(alone[0], alpha[1], atol=1e-5)


def test_only_chosen_samples_are_drawn_or_changed() -> None:
    """What is drawn for some samples lies in their rows and nowhere else."""
    torch = pytest.importorskip("torch")
    (composite,) = load("matte", "composite")
    stack, chosen = torch.zeros(4, 2, 3, 3), torch.tensor([False, True, False, True])
    out = composite.changed(stack, chosen, lambda s: s + len(s))
    assert out.sum((1, 2, 3)).tolist() == [0, 36, 0, 36] and stack.sum() == 0
    assert composite.changed(stack, ~chosen & chosen, lambda s: s / 0) is stack


def test_transforms_of_the_compositor_place_things_where_they_say() -> None:
    """A layer put at (x, y) has its centre there; composing transforms is applying one after the other."""
    torch = pytest.importorskip("torch")
    (composite,) = load("matte", "composite")
    dot = torch.zeros(1, 1, 128, 128)
    dot[0, 0, 62:66, 62:66] = 1
    value = lambda v: torch.tensor([v])  # noqa: E731
    put = composite.Compositor.transform(None, value(0.6), value(1.5), value(0.5), value(-0.25))
    seen = composite.sample(dot, put, raw=True)[0, 0]
    rows, columns = torch.meshgrid(*[torch.arange(128.0)] * 2, indexing="ij")
    assert float((seen * columns).sum() / seen.sum()) == pytest.approx(63.5 + 0.5 * 64, abs=0.2)
    assert float((seen * rows).sum() / seen.sum()) == pytest.approx(63.5 - 0.25 * 64, abs=0.2)
    other = composite.Compositor.transform(None, value(-0.2), value(0.8), value(0.1), value(0.2))
    point = torch.tensor([[[0.3], [0.4]]])
    step = lambda t, p: t[:, :, :2] @ p + t[:, :, 2:]  # noqa: E731
    torch.testing.assert_close(step(composite.compose(put, other), point), step(put, step(other, point)))


@pytest.mark.slow
def test_the_network_can_learn_a_mask_by_heart() -> None:
    """Overfit: four noisy crops whose truth is a disc anywhere; the disc is not in the hull, so only the pixels tell."""
    torch = pytest.importorskip("torch", reason="the training recipe needs torch")
    model, train, composite = load("matte", "model", "train", "composite")
    torch.manual_seed(0)
    torch.set_num_threads(2)
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    discs = [((x - a) ** 2 + (y - b) ** 2 < 26**2).float() for a, b in ((40, 50), (80, 60), (60, 90), (70, 40))]
    face = 1 - torch.stack(discs)[:, None]
    hull = torch.ones(4, 1, 128, 128)
    crop_ = (0.6 * face + 0.2 + 0.05 * torch.randn(4, 3, 128, 128)).clamp(0, 1)
    fields = {"crop": crop_, "hull": hull, "truth": face, "weight": hull}
    batch = composite.Batch(**fields)
    net = model.MatteNet((8, 12, 16, 24))
    optimiser = torch.optim.AdamW(net.parameters(), 5e-3)
    pixels = torch.cat([batch.crop, batch.hull], 1)
    losses = []
    for _ in range(40):
        loss = train.loss_of(net.logits(pixels), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    with torch.no_grad():
        found, seen = torch.sigmoid(net.logits(pixels)) > 0.5, face > 0.5
    iou = float((found & seen).sum() / (found | seen).sum())
    hidden = float((~found & ~seen).sum() / (~found | ~seen).sum())
    assert losses[-1] < 0.3 * losses[0]
    assert iou > 0.95 and hidden > 0.85
