"""Signed provenance (C2PA): what a file was made from and by what, signed last of all.

    container                        manifest
    mp4 m4v mov png jpg tif webp     inside the file
    mkv, exr                         sidecar `NAME.c2pa` beside it (the containers have no place for one)
    sequences of exr                 `NAME.frames.json` lists every frame's sha256, `NAME.frames.c2pa` signs the list

The plate is the parent ingredient, each persona a component; the action `c2pa.edited` carries the IPTC source type; the assertion
`org.digidouble.delivery` binds both by sha256 to this delivery's `ProduceID` and the number of the invisible mark.
"""

from __future__ import annotations

import json
import mimetypes
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from digidouble.deliver.certificate import Credentials, development_root
from digidouble.deliver.labels import IPTC_SOURCE_TYPES, Labels
from digidouble.deliver.partial import partial_path
from digidouble.errors import OutputError
from digidouble.schema.mark import payload_of

EMBEDDED = {
    ".mp4": "video/mp4", ".m4v": "video/x-m4v", ".mov": "video/quicktime", ".png": "image/png", ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg", ".tif": "image/tiff", ".tiff": "image/tiff", ".webp": "image/webp",
}  # fmt: skip
DELIVERY_ASSERTION = "org.digidouble.delivery"
MAX_SIDECAR_BYTES = 16 << 20
_LOCAL = {
    "remote_manifest_fetch": False,
    "ocsp_fetch": False,
}  # a stranger's file must not make us ask an address of its choice
_NO_MANIFEST = ("ManifestNotFound", "no JUMBF data", "NotSupported")


class RemoteManifest(ValueError):
    """The file only names an address where its manifest is. It is not asked: who is verifying what is nobody's business."""


@dataclass(frozen=True)
class Ingredient:
    """Something a delivery was made from. `path`: the file, where there is one to look into."""

    title: str
    sha256: str
    path: Path | None = None


@dataclass(frozen=True)
class Origin:
    """What a manifest says. `personas`: those cast."""

    plate: Ingredient
    personas: tuple[Ingredient, ...]
    labels: Labels


def mime_of(path: Path) -> str:
    """The media type by which C2PA knows a file; sidecars take any."""
    known = {".mkv": "video/x-matroska", ".exr": "image/x-exr", ".json": "application/json"}
    suffix = path.suffix.lower()
    return EMBEDDED.get(suffix) or known.get(suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def sign_embedded(path: Path, final: Path, origin: Origin, who: Credentials) -> None:
    """Put a signed manifest into a finished file (of a suffix in EMBEDDED), in place.

    Raises:
        OutputError: it cannot be signed or does not verify; the file is then as it was.
    """
    signed = partial_path(path)
    try:
        with path.open("rb") as source, signed.open("w+b") as target:
            _sign(origin, who, final, lambda builder, signer: builder.sign(signer, mime_of(final), source, target))
        signed.replace(path)
    finally:
        signed.unlink(missing_ok=True)


def sign_beside(path: Path, final: Path, origin: Origin, who: Credentials) -> bytes:
    """A signed manifest about a file that cannot carry one.

    Raises:
        OutputError: it cannot be signed.
    """
    import io

    def signing(builder: Any, signer: Any) -> bytes:
        builder.set_no_embed()
        with path.open("rb") as source:
            return builder.sign(signer, mime_of(final), source, io.BytesIO())

    return bytes(_sign(origin, who, final, signing))


def read_manifest(path: Path, sidecar: bytes | None = None, anchors: tuple[bytes, ...] = ()) -> dict[str, Any] | None:
    """The manifest store of a file as C2PA's reader reports it, `validation_state` included; None when it has none.

    Args:
        sidecar: the manifest, when it is not in the file.
        anchors: root certificates (PEM) to trust besides this machine's development root.

    Raises:
        OSError: the file cannot be opened. ValueError: it or its manifest cannot be parsed. RemoteManifest: see there.
    """
    import c2pa

    trusted = [pem.decode("ascii", "ignore") for pem in (*anchors, development_root()) if pem]
    trust = {"trust": {"user_anchors": "\n".join(trusted)}} if trusted else {}
    try:
        settings = c2pa.Settings.from_dict({**trust, "verify": {"verify_trust": True, **_LOCAL}})
        with (
            path.open("rb") as stream,
            c2pa.Context(settings) as context,
            c2pa.Reader(mime_of(path), stream, manifest_data=sidecar, context=context) as reader,
        ):
            return json.loads(reader.json())
    except c2pa.C2paError as error:
        if any(word in f"{type(error).__name__} {error}" for word in _NO_MANIFEST):
            return None
        if "must fetch remote" in str(error):
            raise RemoteManifest(
                f"the manifest is not in the file but at {str(error).rpartition(' ')[2][:200]}; lay it beside the file as {path.name}.c2pa"
            ) from error
        raise ValueError(f"{path}: C2PA cannot parse it ({error})") from error


def _sign(origin: Origin, who: Credentials, final: Path, run: Any) -> Any:
    import c2pa

    info = c2pa.C2paSignerInfo(who.algorithm.encode(), who.chain, who.key, None)
    try:
        with c2pa.Signer.from_info(info) as signer, _builder(origin, final) as builder:
            return run(builder, signer)
    except c2pa.C2paError as error:
        raise OutputError(f"{final}: the C2PA manifest cannot be signed ({error})") from error


def _builder(origin: Origin, final: Path) -> Any:
    """A builder with the plate as parent. A plate that C2PA cannot parse is named by its hash instead."""
    import c2pa

    plate = origin.plate
    facts = {"title": plate.title, "relationship": "parentOf"}
    if plate.path is not None and plate.path.suffix.lower() in EMBEDDED and plate.path.is_file():
        builder = _begun(origin, final, ())
        try:
            with plate.path.open("rb") as stream:
                builder.add_ingredient(json.dumps(facts), mime_of(plate.path), stream)
            return builder
        except (c2pa.C2paError, OSError):
            builder.close()
    return _begun(origin, final, ({**facts, "format": mime_of(Path(plate.title))},))


def _begun(origin: Origin, final: Path, parents: tuple[dict[str, Any], ...]) -> Any:
    import c2pa

    version = metadata.version("digidouble")
    agent = {"name": "Digidouble", "version": version}
    aigc, personas = origin.labels.aigc, origin.personas
    parts = [
        {"title": p.title, "format": "application/zip", "relationship": "componentOf", "label": f"persona_{n}"}
        for n, p in enumerate(personas)
    ]
    actions: list[dict[str, Any]] = [
        {
            "action": "c2pa.edited", "softwareAgent": agent, "digitalSourceType": f"{IPTC_SOURCE_TYPES}{origin.labels.source_type}",
            "description": "faces replaced by digital doubles of consenting people",
        },
        *({"action": "c2pa.placed", "softwareAgent": agent, "parameters": {"ingredientIds": [p["label"]]}} for p in parts),
    ]  # fmt: skip
    produce_id = aigc.produce_id if aigc else ""
    binding = {
        "produce_id": produce_id, "mark": f"{payload_of(produce_id):06x}",
        "plate": {"title": origin.plate.title, "sha256": origin.plate.sha256},
        "personas": [{"title": p.title, "sha256": p.sha256} for p in personas],
    }  # fmt: skip
    definition = {
        "claim_generator_info": [agent], "title": final.name, "format": mime_of(final), "ingredients": [*parents, *parts],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}, {"label": DELIVERY_ASSERTION, "data": binding}],
    }  # fmt: skip
    context = c2pa.Context(c2pa.Settings.from_dict({"verify": _LOCAL}))
    builder = c2pa.Builder.from_json(json.dumps(definition), context)
    builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
    return builder
