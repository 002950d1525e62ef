"""The last step of a delivery: every file signed, inside where its container can carry a manifest, beside it where not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from digidouble.deliver.certificate import Credentials, credentials
from digidouble.deliver.labels import Labels
from digidouble.deliver.log import plain_name
from digidouble.deliver.partial import partial_path
from digidouble.deliver.provenance import EMBEDDED, Ingredient, Origin, sign_beside, sign_embedded
from digidouble.deliver.settings import DeliverySettings
from digidouble.schema.shot import Shot

FRAMES_SCHEMA = "digidouble.frames/1"


@dataclass(frozen=True)
class Signed:
    """[(partial name, final name)] of the files that came beside, and where the manifest is in words."""

    sidecars: tuple[tuple[Path, Path], ...]
    words: str


def sign_delivery(
    pairs: list[tuple[Path, Path]], out: Path, shot: Shot, settings: DeliverySettings, labels: Labels
) -> Signed:
    """Sign finished files under their partial names.

    Raises:
        SettingsError: the production certificate cannot be used. OutputError: a file cannot be signed; nothing is left beside.
    """
    who = credentials(settings.certificate, settings.private_key)
    plate = Ingredient(Path(shot.path).name, shot.sha256, Path(shot.path))
    personas = tuple(Ingredient(f"{name}.persona", sha256) for name, sha256 in settings.personas)
    if len(pairs) > 1:  # the plate is looked into once for a movie or picture; a thousand frames name its hash
        plate = Ingredient(plate.title, plate.sha256)
    origin = Origin(plate, personas, labels)
    by = "development certificate" if who.development else "certificate of the producer"
    if out.suffix.lower() in EMBEDDED:
        for partial, final in pairs:
            sign_embedded(partial, final, origin, who)
        return Signed((), f"C2PA in the file, {by}")
    if len(pairs) == 1:
        beside = out.with_name(out.name + ".c2pa")
        return Signed((_beside(pairs[0][0], out, beside, origin, who),), f"C2PA in {beside.name}, {by}")
    return _sign_list(pairs, out, origin, who, by)


def frames_path(out: Path) -> Path:
    """`shot.####.exr` -> `shot.exr.frames.json`: the list of a sequence's frames."""
    return out.with_name(plain_name(out) + ".frames.json")


def sidecar_path(path: Path) -> Path:
    """Where the manifest of a file that cannot carry one lies: `shot.mkv` -> `shot.mkv.c2pa`."""
    return path.with_name(path.name + ".c2pa")


def _beside(path: Path, final: Path, beside: Path, origin: Origin, who: Credentials) -> tuple[Path, Path]:
    manifest = sign_beside(path, final, origin, who)
    partial = partial_path(beside)
    partial.write_bytes(manifest)
    return partial, beside


def _sign_list(pairs: list[tuple[Path, Path]], out: Path, origin: Origin, who: Credentials, by: str) -> Signed:
    frames = []
    for partial, final in pairs:
        with partial.open("rb") as file:
            frames.append({"name": final.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()})
    listing = frames_path(out)
    partial = partial_path(listing)
    try:
        partial.write_text(json.dumps({"schema": FRAMES_SCHEMA, "frames": frames}, indent=0), "utf-8")
        beside = sidecar_path(listing)
        signed = _beside(partial, listing, beside, origin, who)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return Signed(((partial, listing), signed), f"C2PA in {beside.name} over {listing.name}, {by}")
