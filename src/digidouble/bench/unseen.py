"""Poses and expressions a persona has not seen: a clip split by cluster, and personas made from the other clusters.

Neighbouring frames are twins, so stretches of STRETCH frames are clustered by head turn and muscle actions, and whole clusters are
held out, up to a fifth of the clip, with GAP frames around them that belong to neither side. Clusters are taken in turn from the
farthest from the clip's mean, every second one, so that extremes lie on both sides of the split.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float

from digidouble.bench.baselines.paste import Photograph
from digidouble.bench.landmarks import channels, poses_deg
from digidouble.bench.material import CONSENT, MAX_CAPTURE_FRAMES, code_fingerprint, evenly, excerpt
from digidouble.bench.observe import Watched
from digidouble.bench.workshop import Rgb8, Workshop
from digidouble.errors import NoFace
from digidouble.footage import open_footage
from digidouble.persona import build_persona, load_persona, save_persona
from digidouble.persona.exposures import Exposures, expose, face_px_of, side_for, usable_rows
from digidouble.persona.radiance_start import clusters, skin_only
from digidouble.render.geometry import lids_down
from digidouble.schema.colour import display_rgb8, linear_from_frame
from digidouble.schema.frame import Roi
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.track import FaceTrack

CLIP_FRAMES, KEYS, HELD = 420, 40, 16
STRETCH, GAP, CLUSTERS, SHARE, LARGEST = 8, 3, 8, 0.2, 0.35
VISIBLE = 180  # of 255
LIKELY, LEAST_SHOWN = 0.9, 0.1  # of a place's looks that are skin, over all frames; of one look, by facing and matte
TURN_DEG = 25.0  # counts like one muscle action at full strength
LEARNT, STEPS, QUICK_STEPS = 160, 75, 25


def torch_is_there() -> bool:
    """Whether a radiance field can be fitted here."""
    return find_spec("torch") is not None


def split_clusters(described: Float[np.ndarray, "n d"]) -> tuple[Bool[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """(to learn from, held out) for frames in order, by what their faces do."""
    n = len(described)
    stretch = np.arange(n) // STRETCH
    means = np.stack([described[stretch == k].mean(0) for k in range(stretch[-1] + 1)])
    labels = clusters(means, CLUSTERS)
    sizes = np.bincount(labels) / len(labels)
    far = [
        float(np.linalg.norm(means[labels == k].mean(0) - means.mean(0))) if sizes[k] else -1.0
        for k in range(len(sizes))
    ]
    held: list[int] = []
    for k in [int(k) for k in np.argsort(-np.array(far), kind="stable")][1::2]:
        if sizes[held].sum() >= SHARE:
            break
        if sizes[held].sum() + sizes[k] <= LARGEST:
            held.append(k)
    out = np.isin(labels, held)[stretch]
    near = np.convolve(out, np.ones(2 * GAP + 1), "same") > 0
    return ~near, out


@dataclass
class Unseen:
    """One person's clip, split."""

    shop: Workshop
    name: str

    @property
    def folder(self) -> Path:
        return self.shop.folder / "personas"

    @cached_property
    def movie(self) -> Path:
        """The first CLIP_FRAMES of the clip."""
        clip, name = self.shop.clips[self.name].path, self.shop.clip_id(self.name)
        out = self.shop.folder / "excerpts" / f"{name}-{CLIP_FRAMES}.mkv"
        return excerpt(clip, list(range(min(CLIP_FRAMES, self.shop.frame_count(self.name)))), out)

    @cached_property
    def performance(self) -> Performance:
        return self.shop.performance(self.movie)

    @cached_property
    def track(self) -> FaceTrack:
        return self.performance.track("main")

    @cached_property
    def sides(self) -> tuple[list[int], list[int]]:
        """Rows of the track: (learnt from, held out, HELD of them).

        Raises:
            NoFace: the face is hardly shown, or the split leaves a side empty.
        """
        rows = np.array(usable_rows(self.track))
        if len(rows) < 5 * STRETCH:
            raise NoFace(f"{self.movie}: the face is seen well in {len(rows)} frames only; too few to split")
        views = np.array([self.track.pose(self.track.frames.start + int(r)).euler_deg[:2] for r in rows])
        learnt, held = split_clusters(np.concatenate([self.track.actions[rows], views / TURN_DEG], 1))
        if not learnt.any() or not held.any():
            raise NoFace(f"{self.movie}: all frames are alike; nothing can be held out")
        return rows[learnt].tolist(), evenly(rows[held].tolist(), HELD)

    @cached_property
    def keys(self) -> list[int]:
        return evenly(self.sides[0], KEYS)

    def frame_of(self, row: int) -> int:
        return self.track.frames.start + row

    @cached_property
    def _watched(self) -> dict[int, np.ndarray]:
        """Row -> the referee's landmarks, for keys and held-out frames the referee sees."""
        rows = sorted({*self.keys, *self.sides[1]})
        stem = f"{self.movie.stem}-{len(rows)}-{sum(rows)}"
        movie = excerpt(self.movie, [self.frame_of(r) for r in rows], self.shop.folder / "excerpts" / f"{stem}.mkv")
        found: Watched = self.shop.watched(movie)
        return {
            rows[found.first + k]: p.astype(np.float64)
            for k, p in enumerate(found.landmarks)
            if found.first + k < len(rows)
        }

    @cached_property
    def held(self) -> list[int]:
        """Held-out rows that the referee sees."""
        return [r for r in self.sides[1] if r in self._watched]

    def landmarks(self, row: int) -> Float[np.ndarray, "68 2"]:
        return self._watched[row]

    def seen_keys(self) -> list[int]:
        return [r for r in self.keys if r in self._watched]

    def pictures(self, rows: list[int]) -> dict[int, Rgb8]:
        """Frames by the way a render's pixels go: decoded to linear light by the plate's transfer, then sRGB. The plate's own codes
        would differ in every shadow (BT.709 is not sRGB)."""
        out = {}
        with open_footage(self.movie) as footage:
            for r in rows:
                frame = footage.frame(self.frame_of(r))
                out[r] = display_rgb8(linear_from_frame(frame, Roi(0, 0, *frame.size_wh)))
        return out

    def face_visible(self, row: int, size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        """Where the plate shows the face itself, with no hair or hand in front, by the product's matte."""
        sample = self.track.sample(self.frame_of(row))
        to_px = sample.matte_px_from_crop.astype(np.float32)
        matte = cv2.warpAffine(sample.matte, to_px, size_hw[::-1], flags=cv2.INTER_LINEAR)
        return matte > VISIBLE

    def lids_down(self, row: int) -> Float[np.ndarray, "2"]:
        """How far the lids are down, by the product's own performance (`geometry.lids_down`)."""
        sample, pose = self.track.sample(self.frame_of(row)), self.track.pose(self.frame_of(row))
        return lids_down(pose.head_from_px(sample.points_px), self.track.neutral_cm)

    @cached_property
    def _skin_shown(self) -> Bool[np.ndarray, "n s s"]:
        """Over UV, for every held-out row: whether it shows the person's skin and not hair (strands, edges and shadows of hair, by the unrolling of
        the product; hair at the outline, by the frames learnt from) and not too edge-on."""
        seen = self.exposures.weight.astype(np.float32).sum(0)
        skin = skin_only(self.exposures).weight.astype(np.float32).sum(0)
        usual = skin >= LIKELY * np.maximum(seen, 1e-3)
        with open_footage(self.movie) as footage:
            held = expose(footage, self.track, self.sides[1], self.exposures.side)
        return usual & (skin_only(held).weight > LEAST_SHOWN)

    def skin_shown(self, row: int) -> Bool[np.ndarray, "s s"]:
        """Over UV, where a held-out row shows the person's skin and no hair."""
        return self._skin_shown[self.sides[1].index(row)]

    def photograph(self, pictures: dict[int, Rgb8]) -> Photograph:
        """The key nearest to a neutral face seen from the front."""
        rows = list(pictures)
        points = np.stack([self.landmarks(r) for r in rows])
        shape, turned = channels(points), poses_deg(points)
        off = np.abs(shape - np.median(shape, axis=0)).sum(1) + 3 * shape[:, 0] + np.abs(turned[:, :2]).sum(1) / 20
        best = rows[int(off.argmin())]
        return Photograph(pictures[best], self.landmarks(best))

    # --- personas ------------------------------------------------------------------------------------------------------

    def atlas_persona(self) -> Persona:
        """Built as the program builds one, from frames of the learnt side alone."""
        from digidouble.capture import capture

        learnt = self.sides[0]
        out = self.folder / f"{self.movie.stem}-unseen-{len(learnt)}-{sum(learnt)}-{code_fingerprint(True)}.persona"
        if not out.exists():
            self.shop.tell(f"building the persona of {self.name}")
            wanted = [self.frame_of(r) for r in evenly(learnt, MAX_CAPTURE_FRAMES)]
            stem = f"{self.movie.stem}-learnt-{len(learnt)}-{sum(learnt)}"
            movie = excerpt(self.movie, wanted, self.shop.folder / "excerpts" / f"{stem}.mkv")
            save_persona(build_persona(capture([movie], CONSENT), self.name), out)
        return load_persona(out)

    @cached_property
    def exposures(self) -> Exposures:
        self.shop.tell(f"unrolling {self.name}")
        with open_footage(self.movie) as footage:
            return expose(footage, self.track, evenly(self.sides[0], LEARNT), side_for(face_px_of(self.track)))

    def radiance_persona(self, frames: int, steps: int) -> Persona:
        """With a field fitted to `frames` of the learnt side."""
        from digidouble.persona.radiance_build import with_radiance
        from digidouble.persona.radiance_fit import FitSettings

        learnt = self.sides[0]
        out = (
            self.folder / f"{self.movie.stem}-{frames}-{steps}-{sum(learnt)}-{code_fingerprint(True)}.radiance.persona"
        )
        if not out.exists():
            self.shop.tell(f"fitting the radiance field of {self.name} to {frames} frame(s)")
            chosen = self.exposures.chosen(evenly(list(range(len(self.exposures))), frames))
            settings = FitSettings(steps=steps, frames=max(frames, 1))
            save_persona(with_radiance(self.atlas_persona(), chosen, settings)[0], out)
        return load_persona(out)
