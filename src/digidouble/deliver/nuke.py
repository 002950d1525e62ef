"""A Nuke script that puts the passes together again: plate, each double's patch over it, passes picked out, depth and Cryptomatte."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange

DATA_LAYERS = ("albedo", "shading", "specular", "refine", "N", "uv", "depth", "forward", "backward", "conf")


def nuke_script(shot: Shot, frames: FrameRange, passes: Path, layers: Sequence[str], plate: Path) -> str:
    """The text of the script.

    Args:
        frames: those delivered. passes: pattern of the EXR sequence (`####`). layers: names of the doubles, nearest last.
        plate: the plate as Nuke should read it.

    The tree: plate -> one Merge (over) a double -> Write, disabled; beside it a Shuffle a pass and a matte. Paths are quoted for Tcl.
    """
    w, h = shot.size_wh
    first, last = shot.start_number + frames.start, shot.start_number + frames.end_exclusive - 1
    # A movie starts at 1 in Nuke, a sequence at its own number.
    plate_first, plate_last = (1, shot.frame_count) if shot.kind == "movie" else (shot.start_number, last)
    nodes = [
        _node("Root", {"format": quoted(f"{w} {h} 0 0 {w} {h} 1 plate"), "first_frame": first, "last_frame": last,
                       "fps": f"{float(shot.rate.fps):.6g}"}),
        _node("Read", {"inputs": 0, "file": quoted(str(plate)), "first": plate_first, "last": plate_last,
                       **({"frame_mode": "offset", "frame": plate_first - shot.start_number} if shot.kind == "movie" else {}),
                       "name": "Plate"}, (0, -200)),
        "set plate [stack 0]\n",
        _node("Read", {"inputs": 0, "file": quoted(str(passes)), "first": first, "last": last, "origfirst": first,
                       "origlast": last, "on_error": "black", "raw": "true", "name": "Passes"}, (300, -200)),
        "set passes [stack 0]\n",
    ]  # fmt: skip
    for n, name in enumerate(DATA_LAYERS):
        nodes += ["push $passes\n", _shuffle(name, f"pass_{name}", (600 + 110 * n, 0))]
    for n, name in enumerate(layers):
        nodes += ["push $passes\n", _shuffle(f"{name}_matte", f"matte_{node_name(name)}", (600 + 110 * n, 80))]
    nodes.append("push $plate\n")
    for n, name in enumerate(layers):
        nodes += [
            "push $passes\n",
            _shuffle(name, f"patch_{node_name(name)}", (300, 80 * n)),
            # The stack holds B, then A on top: A is the patch, B what is built so far.
            _node("Merge2", {"inputs": 2, "operation": "over", "name": f"over_{node_name(name)}"}, (0, 80 * n + 40)),
        ]
    nodes.append(
        _node("Write", {"file": quoted("comp.####.exr"), "file_type": "exr", "datatype": quoted("16 bit half"),
                        "disable": "true", "name": "Comp"}, (0, 80 * len(layers) + 80))
    )  # fmt: skip
    return "#! digidouble passes\nversion 12.0 v1\n" + "".join(nodes)


def node_name(text: str) -> str:
    """A name that Nuke takes: letters, digits and underscores."""
    return re.sub(r"\W", "_", text, flags=re.ASCII)


def quoted(text: str) -> str:
    """A Tcl word that is exactly this text: nothing in it is substituted."""
    escaped = re.sub(r'([\\"$\[\]{}])', r"\\\1", re.sub(r"[\x00-\x1f]", "_", text))
    return f'"{escaped}"'


def _shuffle(layer: str, name: str, at: tuple[int, int]) -> str:
    return _node("Shuffle", {"in": layer, "name": name}, at)


def _node(kind: str, knobs: dict[str, object], at: tuple[int, int] | None = None) -> str:
    place = {"xpos": at[0], "ypos": at[1]} if at else {}
    body = "".join(f" {key} {value}\n" for key, value in (knobs | place).items())
    return f"{kind} {{\n{body}}}\n"
