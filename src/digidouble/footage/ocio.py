"""OpenColorIO: plates in a colour space of a studio's config. The only importer of PyOpenColorIO (extra `[film]`).

A plate's samples stay as they are; what changes is how light is read from them and written back: signal -> config -> the
config's scene-linear role, and the way back for what the matte touches (`schema.colour.register_space`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from digidouble.errors import SettingsError
from digidouble.footage.reader import Footage
from digidouble.schema.colour import register_space
from digidouble.schema.frame import Frame
from digidouble.schema.time import FrameRange

WORKING_ROLE = "scene_linear"
_BUILT_IN = "ocio://"


class OcioSpace:
    """A colour space of a config, as `schema.colour.LightSpace`. Processors are safe to use from several threads.

    Raises:
        SettingsError: OpenColorIO is not installed, the config does not load, has no scene-linear role, or not this space.
    """

    def __init__(self, config: str, space: str) -> None:
        ocio = _library()
        try:
            read = ocio.Config.CreateFromBuiltinConfig if config.startswith(_BUILT_IN) else ocio.Config.CreateFromFile
            loaded = read(config)
            loaded.validate()
        except ocio.Exception as error:
            raise SettingsError(f"{config}: not an OpenColorIO config that loads ({_first_line(error)})") from error
        if loaded.getColorSpace(space) is None:
            known = ", ".join(list(loaded.getColorSpaceNames())[:12])
            raise SettingsError(f"{config}: no colour space {space!r}; there are {known} ...")
        if not loaded.hasRole(WORKING_ROLE):
            raise SettingsError(f"{config}: has no role {WORKING_ROLE}, which is the space doubles are lit in")
        working = loaded.getColorSpace(WORKING_ROLE).getName()
        try:
            self._to = loaded.getProcessor(space, working).getDefaultCPUProcessor()
            self._from = loaded.getProcessor(working, space).getDefaultCPUProcessor()
        except ocio.Exception as error:
            raise SettingsError(
                f"{config}: {space} cannot be converted to {working} and back ({_first_line(error)})"
            ) from error
        text = f"{loaded.getCacheID()} {space} {working}"
        self.space, self.working = space, working
        self.key = f"ocio:{space}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def to_linear(self, signal: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
        """Light, in the working space, of signal values in the plate's space."""
        return _applied(self._to, signal)

    def from_linear(self, light: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
        """Signal values of light."""
        return _applied(self._from, light)


class OcioFootage(Footage):
    """Footage whose samples are in a config's colour space. Samples are those of the footage it is made from."""

    def __init__(self, footage: Footage, space: OcioSpace) -> None:
        register_space(space.key, space)
        self._footage, self.space = footage, space
        self._colour = replace(footage.shot.colour, space=space.key)
        self.shot = replace(footage.shot, colour=self._colour)
        self.warnings = footage.warnings

    def _stream(self, frame_range: FrameRange) -> Iterator[Frame]:
        for frame in self._footage.frames(frame_range):
            yield replace(frame, colour=self._colour)

    def _seek(self, index: int) -> Frame:
        return replace(self._footage.frame(index), colour=self._colour)

    def close(self) -> None:
        self._footage.close()


def _applied(processor: Any, values: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    out = np.array(values, np.float32, order="C", copy=True)
    if out.size:
        processor.applyRGB(out)
    return out


def _library() -> Any:
    try:
        import PyOpenColorIO
    except ImportError as error:
        raise SettingsError(
            "--ocio needs OpenColorIO, which is not installed: pip install 'digidouble[film]'"
        ) from error
    return PyOpenColorIO


def config_path(config: str) -> str:
    """A config's place as OpenColorIO takes it: `ocio://...` as it is, else an existing file.

    Raises:
        SettingsError: no such file.
    """
    if config.startswith(_BUILT_IN):
        return config
    if not Path(config).is_file():
        raise SettingsError(f"{config}: no such OpenColorIO config; name a config.ocio or a built-in ocio://...")
    return str(Path(config).resolve())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
