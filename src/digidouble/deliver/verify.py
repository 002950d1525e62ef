"""Reading every label of a file back, ours or another tool's: what is intact, what is missing, what was altered.

Each check stands alone and trusts nothing that another one said, except that the invisible mark is first asked for the number
which manifest, metadata or log promise. A file is *altered* when anything contradicts, *incomplete* when nothing does but a
label is missing, else *intact*.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from digidouble.deliver.images import SequenceName
from digidouble.deliver.labels import IPTC_SOURCE_TYPES, Labels, read_labels
from digidouble.deliver.log import log_path, read_log
from digidouble.deliver.mark_reader import FaceMark, MarkReader
from digidouble.deliver.provenance import DELIVERY_ASSERTION, MAX_SIDECAR_BYTES, RemoteManifest, read_manifest
from digidouble.deliver.signing import frames_path, sidecar_path
from digidouble.errors import DigidoubleError, UnreadableMedia
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.mark import EXPECTED_Z, payload_of

State = Literal["intact", "missing", "altered", "unknown"]
READ_FRAMES = 8
MAX_FRAMES_LISTED = 1_000_000
_TROUBLE = (
    DigidoubleError,
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    struct.error,
    RecursionError,
)


@dataclass(frozen=True)
class Check:
    """One label. `said`: in words; `facts`: for machines."""

    name: str
    state: State
    said: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """All checks of a file."""

    path: Path
    checks: tuple[Check, ...]

    @property
    def state(self) -> Literal["intact", "incomplete", "altered"]:
        states = {check.state for check in self.checks}
        return "altered" if "altered" in states else "incomplete" if "missing" in states else "intact"


def verify(
    out: Path, persona_sha256: str | None = None, anchors: tuple[bytes, ...] = (), log: Path | None = None, reader: Reads | None = None
) -> Verdict:  # fmt: skip
    """Check a movie, a picture or a sequence (`name.####.exr`).

    Args:
        persona_sha256: of the persona that should be in it; None does not ask.
        anchors: root certificates (PEM) that the signer must lead to; none accepts any signer.
        log: the delivery log; None looks beside the file.
        reader: of the invisible mark; made when None.

    Raises:
        UnreadableMedia: there is no such file. WeightsError: the networks that find faces are not here.
    """
    case = _Case(out, anchors, log)
    if not case.files:
        raise UnreadableMedia(f"{out}: there is no such file to verify")
    checks = [_guarded("log", lambda: _log(case)), _guarded("c2pa", lambda: _c2pa(case))]
    checks += [_guarded("aigc", lambda: _aigc(case)), _guarded("iptc", lambda: _iptc(case))]
    checks.append(_guarded("visible", lambda: _visible(case)))
    checks.append(_guarded("mark", lambda: _mark(case, reader or MarkReader())))
    if persona_sha256 is not None or case.record is not None:
        checks.append(_guarded("persona", lambda: _persona(case, persona_sha256)))
    return Verdict(out, tuple(checks))


@runtime_checkable
class Reads(Protocol):
    """What finds marks; tests put their own behind it."""

    def read(self, pictures: Iterable[UInt8[np.ndarray, "h w 3"]]) -> list[FaceMark]:
        """See `MarkReader.read`."""
        ...


class _Case:
    """A file and what it says of itself; each source is read once."""

    def __init__(self, out: Path, anchors: tuple[bytes, ...], log: Path | None) -> None:
        self.out, self.anchors = out, anchors
        self.log = log or log_path(out)
        self.sequence = SequenceName.of(out) is not None
        self.files: tuple[Path, ...] = tuple(_members(out)) if self.sequence else ((out,) if out.is_file() else ())

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """The last delivery on record under this name; None when there is no log."""
        if not self.log.is_file():
            return None
        records = read_log(self.log)
        return dict(records[-1]) if records else None

    @cached_property
    def signed(self) -> Path:
        """The file that the manifest is about: the list of frames where there is one."""
        listing = frames_path(self.out)
        return listing if self.sequence and listing.is_file() else self.files[0]

    @cached_property
    def store(self) -> dict[str, Any] | None:
        """The manifest store."""
        beside = sidecar_path(self.signed)
        sidecar = None
        if beside.is_file():
            if beside.stat().st_size > MAX_SIDECAR_BYTES:
                raise ValueError(f"{beside.name} is larger than {MAX_SIDECAR_BYTES >> 20} MiB")
            sidecar = beside.read_bytes()
        return read_manifest(self.signed, sidecar, self.anchors)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The active manifest, empty when there is none."""
        try:
            store = self.store
        except _TROUBLE:
            return {}
        found = (store or {}).get("manifests", {}).get((store or {}).get("active_manifest"))
        return found if isinstance(found, dict) else {}

    @cached_property
    def binding(self) -> dict[str, Any]:
        """Our own assertion in the manifest, empty when another tool signed."""
        for assertion in self.manifest.get("assertions", []):
            if assertion.get("label") == DELIVERY_ASSERTION and isinstance(assertion.get("data"), dict):
                return assertion["data"]
        return {}

    @cached_property
    def labels(self) -> Labels:
        return read_labels(self.files[0])

    def produce_ids(self) -> dict[str, str]:
        """What each source calls this delivery."""
        found: dict[str, str] = {}
        if self.binding.get("produce_id"):
            found["manifest"] = str(self.binding["produce_id"])
        try:
            if self.labels.aigc is not None:
                found["AIGC"] = self.labels.aigc.produce_id
        except _TROUBLE:
            pass
        try:
            if self.record is not None and (aigc := self.record["labels"]["aigc"]):
                found["log"] = str(aigc["ProduceID"])
        except _TROUBLE:
            pass
        return found


def _members(out: Path) -> Iterator[Path]:
    import re

    pattern = re.compile(re.sub(r"\\#(\\#)*|#+|%0?\d*d", r"\\d+", re.escape(out.name)))
    if not out.parent.is_dir():
        return
    found = sorted(p for p in out.parent.iterdir() if pattern.fullmatch(p.name))
    yield from found[:MAX_FRAMES_LISTED]


def _guarded(name: str, check: Any) -> Check:
    """A check that cannot be made because the file is damaged has been answered: it was altered."""
    from digidouble.errors import WeightsError

    try:
        return check()
    except WeightsError:
        raise
    except _TROUBLE as error:
        return Check(name, "altered", f"cannot be read: {str(error)[:300]}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _log(case: _Case) -> Check:
    if case.record is None:
        return Check("log", "missing", f"no delivery log ({case.log.name})")
    known = {f["name"]: f["sha256"] for f in case.record["files"]}
    wrong = [p.name for p in case.files if known.get(p.name) != _sha256(p)]
    lost = sorted(set(known) - {p.name for p in case.files}) if case.sequence else []
    facts = {"changed": wrong[:100], "lost": lost[:100]}
    if wrong or lost:
        return Check("log", "altered", f"not as delivered: {len(wrong)} changed, {len(lost)} lost ({', '.join([*wrong, *lost][:3])})", facts)  # fmt: skip
    return Check(
        "log",
        "intact",
        f"{len(known)} file(s) have the sha256 on record, delivered {case.record.get('written')}",
        facts,
    )


def _c2pa(case: _Case) -> Check:
    try:
        store = case.store
    except RemoteManifest as error:
        return Check("c2pa", "missing", str(error))
    if store is None:
        return Check("c2pa", "missing", "no C2PA manifest, neither in the file nor beside it")
    state, signer = store.get("validation_state"), case.manifest.get("signature_info", {})
    codes = [s.get("code") for s in store.get("validation_status") or [] if isinstance(s, dict)]
    ingredients = [
        {"title": i.get("title"), "relationship": i.get("relationship")} for i in case.manifest.get("ingredients", [])
    ]
    facts = {
        "validation": state, "codes": codes, "signer": signer.get("common_name") or signer.get("issuer"), "ingredients": ingredients,
        "source_types": sorted(_source_types(case.manifest)), "generator": case.manifest.get("claim_generator_info"),
    }  # fmt: skip
    if state not in ("Valid", "Trusted"):
        return Check(
            "c2pa", "altered", f"the manifest does not fit the file ({', '.join(map(str, codes)) or state})", facts
        )
    if case.anchors and state != "Trusted":
        return Check("c2pa", "altered", f"signed by {facts['signer']}, which leads to no certificate given", facts)
    if case.sequence and case.signed not in case.files and (wrong := _changed_frames(case)):
        facts["changed"] = wrong[:100]
        return Check(
            "c2pa", "altered", f"{len(wrong)} frame(s) are not those that were signed ({', '.join(wrong[:3])})", facts
        )
    made_from = ", ".join(f"{i['title']} ({i['relationship']})" for i in ingredients) or "nothing named"
    trust = "on a list given or this machine's own" if state == "Trusted" else "not on any list here"
    return Check("c2pa", "intact", f"signed by {facts['signer']} ({trust}); made from {made_from}", facts)


def _changed_frames(case: _Case) -> list[str]:
    """Frames that differ from the signed list, or are on one side only."""
    listed = {f["name"]: f["sha256"] for f in json.loads(case.signed.read_text("utf-8"))["frames"]}
    here = {p.name: p for p in case.files}
    return sorted(n for n in listed.keys() | here.keys() if n not in here or listed.get(n) != _sha256(here[n]))


def _source_types(manifest: dict[str, Any]) -> set[str]:
    found = set()
    for assertion in manifest.get("assertions", []):
        if str(assertion.get("label", "")).startswith("c2pa.actions"):
            types = (action.get("digitalSourceType") for action in assertion.get("data", {}).get("actions", []))
            found |= {str(t).rsplit("/", 1)[-1] for t in types if t}
    return found


def _aigc(case: _Case) -> Check:
    aigc, ids = case.labels.aigc, case.produce_ids()
    if aigc is None:
        return Check("aigc", "missing", "no AIGC metadata (GB 45438)")
    facts = {**json.loads(aigc.to_json()), "copies": case.labels.aigc_copies}
    if case.labels.aigc_copies != 1:
        return Check(
            "aigc", "altered", f"{case.labels.aigc_copies} copies of AIGC metadata; the standard wants one", facts
        )
    other = {source: value for source, value in ids.items() if value != aigc.produce_id}
    if other:
        said = ", ".join(f"{source} says {value}" for source, value in other.items())
        return Check("aigc", "altered", f"AIGC names delivery {aigc.produce_id}, but {said}", facts)
    return Check("aigc", "intact", f"producer {aigc.content_producer}, delivery {aigc.produce_id}", facts)


def _iptc(case: _Case) -> Check:
    found, signed = case.labels.source_type, _source_types(case.manifest)
    facts = {"source_type": found}
    if found is None:
        return Check("iptc", "missing", "no IPTC digital source type", facts)
    recorded = (case.record or {}).get("labels", {}).get("source_type")
    if (signed and found not in signed) or (recorded and recorded != found):
        return Check(
            "iptc", "altered", f"IPTC says {found}, signed or recorded was {', '.join(signed) or recorded}", facts
        )
    return Check("iptc", "intact", f"{IPTC_SOURCE_TYPES}{found}", facts)


def _visible(case: _Case) -> Check:
    if case.record is None:
        return Check("visible", "unknown", "whether there is a visible label is only on record in the delivery log")
    labels = case.record["labels"]
    facts = {"frames": labels["visible_frames"], "waiver": labels["waiver"]}
    if labels["visible_frames"]:
        return Check("visible", "intact", f"on record: in the first {labels['visible_frames']} frame(s)", facts)
    if labels["waiver"]:
        return Check("visible", "intact", f"on record: waived ({labels['waiver']})", facts)
    return Check("visible", "missing", "neither a visible label nor a reason for its absence is on record", facts)


def _mark(case: _Case, reader: Reads) -> Check:
    faces = reader.read(_pictures(case))
    if not faces:
        return Check("mark", "unknown", "no face large enough to carry the invisible mark was found")
    expected = {source: payload_of(value) for source, value in case.produce_ids().items()}
    facts: dict[str, Any] = {"faces": [_face_facts(f, expected) for f in faces]}
    found = faces[0].reading
    if found.present and found.payload is not None and expected and found.payload not in expected.values():
        return Check(
            "mark", "altered", f"the invisible mark says {found.payload:06x}, another delivery (z {found.z:.1f})", facts
        )
    for source, payload in expected.items():
        best = max(f.expected_z(payload) for f in faces)
        if best >= EXPECTED_Z:
            return Check(
                "mark", "intact", f"the invisible mark says {payload:06x}, as the {source} does (z {best:.1f})", facts
            )
    if found.present:
        number = "unreadable" if found.payload is None else f"{found.payload:06x}"
        return Check("mark", "intact", f"there is an invisible mark, number {number} (z {found.z:.1f})", facts)
    return Check("mark", "missing", f"no invisible mark on {len(faces)} face(s) (best z {found.z:.1f})", facts)


def _face_facts(face: FaceMark, expected: dict[str, int]) -> dict[str, Any]:
    number = None if face.reading.payload is None else f"{face.reading.payload:06x}"
    return {
        "centre_px": [round(v) for v in face.centre_px], "width_px": round(face.width_px), "frames": face.frames,
        "z": round(face.reading.z, 2), "present": face.reading.present, "number": number,
        "expected_z": {source: round(face.expected_z(p), 2) for source, p in expected.items()},
    }  # fmt: skip


def _pictures(case: _Case) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Some frames, spread over the whole."""
    from digidouble.footage import open_footage

    with open_footage(case.out) as footage:
        count = footage.shot.frame_count
        for index in sorted({int(i) for i in np.linspace(0, count - 1, min(count, READ_FRAMES)).round()}):
            yield _as_marked(footage.frame(index))


def _as_marked(frame: Frame) -> UInt8[np.ndarray, "h w 3"]:
    """Light is looked at by the plain display curve: the tone curve of `rgb8_from_frame` would take a third of the mark away."""
    from digidouble.schema.colour import display_rgb8, linear_from_frame, rgb8_from_frame

    if not frame.layout.is_float:
        return rgb8_from_frame(frame)
    return display_rgb8(np.nan_to_num(linear_from_frame(frame, Roi(0, 0, *frame.size_wh))))


def _persona(case: _Case, wanted: str | None) -> Check:
    signed = [str(p.get("sha256")) for p in case.binding.get("personas", [])]
    recorded = [str(p.get("sha256")) for p in (case.record or {}).get("personas", [])]
    facts = {"signed": signed, "recorded": recorded, "wanted": wanted}
    if signed and recorded and sorted(signed) != sorted(recorded):
        return Check("persona", "altered", "manifest and log name different personas", facts)
    known = signed or recorded
    if not known:
        return Check("persona", "unknown" if wanted is None else "missing", "no persona is named", facts)
    if wanted is not None and wanted not in known:
        return Check("persona", "altered", f"made with persona {known[0][:16]}, not with {wanted[:16]}", facts)
    return Check("persona", "intact", f"made with {', '.join(k[:16] for k in known)}", facts)
