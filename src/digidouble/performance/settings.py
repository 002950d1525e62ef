"""What a user may choose about the analysis of a plate."""

from __future__ import annotations

from dataclasses import dataclass

from digidouble.errors import SettingsError


@dataclass(frozen=True)
class PerformSettings:
    """Settings of `digidouble perform`; the record is kept in the `.perf`.

    Attributes:
        detect_every: frames between two looks for new faces (a lost face is looked for at once).
        mesh_jitters: regions averaged for one mesh; more is steadier and slower (1, 2 or 4).
        min_face_px: faces narrower than this are left alone.
        max_faces: at most this many faces are followed at a time, largest first.
        fade_frames: frames over which a double fades where a face is lost or found.
        smoothing: 0 keeps every tracker jitter, 1 is the default, 2 is calmer.
        slides: keep where skin slides beside its mesh and how its shade changes, which fusion reads (4 ms a frame; file a third larger).
        modalities: keep RGB crop, depth and flow of every face in the performance (a second pass over the plate; larger file).
        flow: how modalities find motion, "dis" (OpenCV) or a RAFT network in ONNX.
        depth: how modalities find depth, "mesh" (no network), "depth-anything-v2-small" (fetched by name) or such a network in ONNX.
    """

    detect_every: int = 10
    mesh_jitters: int = 2
    min_face_px: int = 28
    max_faces: int = 12
    fade_frames: int = 5
    smoothing: float = 1.0
    slides: bool = False
    modalities: bool = False
    flow: str = "dis"
    depth: str = "mesh"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("detect_every", 1, 1000),
            ("mesh_jitters", 1, 8),
            ("min_face_px", 16, 4096),
            ("max_faces", 1, 64),
            ("fade_frames", 1, 100),
            ("smoothing", 0, 10),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingsError(f"{name} = {value}: expected {low}..{high}")
        for name, known in (("flow", ("dis",)), ("depth", ("mesh", "depth-anything-v2-small"))):
            value = getattr(self, name)
            if value not in known and not value.endswith(".onnx"):
                raise SettingsError(f"{name} = {value!r}: expected {', '.join(known)} or a file that ends in .onnx")
            if value != known[0] and not self.modalities:
                raise SettingsError(
                    f"{name} = {value!r} measures modalities, and they are off: ask for them too (--modalities)"
                )
