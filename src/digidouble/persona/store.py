"""`.persona` on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from digidouble.assets import AssetReader, AssetWriter, bounded, expect
from digidouble.errors import ConsentError, DamagedAsset
from digidouble.schema.mesh import face_model
from digidouble.schema.persona import AddedDetail, Consent, KeyAtlas, KeyLight, LeftOut, Persona, PersonaSource
from digidouble.schema.radiance import Radiance

MAX_KEYS = 256
MAX_LEFT_OUT = 2000
FIELD = "radiance.safetensors"
LARGEST = {"neutral_cm": 100.0, "iris_linear": 1e3, "skin_linear": 1e3}  # of real personas: 12, 0.7, 0.7
LARGEST_OF_KEY = {"actions": 100.0, "view_deg": 360.0}  # of real keys: 2.4, 24
HALF = ("fixed", "planes", "tone", "thickness")  # kept in half precision


def save_persona(persona: Persona, out: Path) -> Path:
    """Write a persona. Raises OutputError."""
    c = persona.consent
    facts = {
        "name": persona.name,
        "consent": {
            "subject": c.subject, "granted_by": c.granted_by, "scope": list(c.scope), "expires": c.expires.isoformat(),
            "evidence": c.evidence, "evidence_sha256": c.evidence_sha256,
        },
        "keys": [{"face_px": k.face_px, "source": k.source, **_light_facts(k.light)} for k in persona.keys],
        "sources": [{"name": s.name, "sha256": s.sha256, "frame": s.frame} for s in persona.sources],
        "left_out": [{"name": n.name, "frame": n.frame, "reason": n.reason} for n in persona.left_out[:MAX_LEFT_OUT]],
    }  # fmt: skip
    if persona.radiance is not None:
        facts["radiance"] = {str(k): float(v) for k, v in persona.radiance.quality.items()}
    if persona.detail is not None:
        facts["detail"] = asdict(persona.detail)
    with AssetWriter(out, "persona") as w:
        w.add_tensors(
            "shape.safetensors",
            {
                "neutral_cm": persona.neutral_cm.astype(np.float32),
                "identity": persona.identity.astype(np.float32),
                "iris_linear": persona.iris_linear.astype(np.float32),
                "skin_linear": persona.skin_linear.astype(np.float32),
            },
        )
        for i, k in enumerate(persona.keys):
            w.add_tensors(
                f"keys/{i:03d}.safetensors",
                {
                    "albedo": k.albedo.astype(np.float16),
                    "confidence": k.confidence,
                    "actions": k.actions.astype(np.float32),
                    "view_deg": k.view_deg.astype(np.float32),
                },
            )
        if persona.radiance is not None:
            w.add_tensors(FIELD, _field_arrays(persona.radiance))
        return w.finish(facts)


def _field_arrays(field: Radiance) -> dict[str, np.ndarray]:
    arrays = {f.name: getattr(field, f.name) for f in fields(field) if f.name != "quality"}
    return {k: np.asarray(v, np.float16 if k in HALF else np.float32) for k, v in arrays.items()}


def _field(r: AssetReader, facts: Any) -> Radiance | None:
    """The radiance field, None when there is none. Its arrays only: the graph that reads them is ours."""
    if facts is None and FIELD not in r.names():
        return None
    t = r.tensors(FIELD)
    names = [f.name for f in fields(Radiance) if f.name != "quality"]
    ranks = {"fixed": 3, "planes": 4, "tone": 4, "thickness": 3, "centres": 2, "weights": 2}
    expect(
        t, {n: ("float16" if n in HALF else "float32", (None,) * ranks.get(n, 1)) for n in names}, r.path / "radiance"
    )
    if not isinstance(facts, dict) or len(facts) > 32:
        raise DamagedAsset(f"{r.path}: what the radiance field's fit reached is malformed.")
    try:
        quality = {str(k)[:60]: float(v) for k, v in facts.items()}
    except (TypeError, ValueError) as e:
        raise DamagedAsset(f"{r.path}: what the radiance field's fit reached is malformed ({e}).") from e
    return Radiance(**t, quality=quality)


def load_persona(path: Path) -> Persona:
    """Open a persona; its consent is read but not judged (see `Consent.check`).

    Raises:
        AssetError: it cannot be trusted. ConsentError: it carries no complete consent record. UnreadableMedia: no such file.
    """
    with AssetReader(path, "persona") as r:
        facts = r.facts
        try:
            keys_facts, sources = facts["keys"], facts["sources"]
            name = str(facts["name"])[:100]
            if not 1 <= len(keys_facts) <= MAX_KEYS:
                raise ValueError(f"{len(keys_facts)} keys")
            persona_sources = tuple(PersonaSource(str(s["name"]), str(s["sha256"]), int(s["frame"])) for s in sources)
            numbers = [(float(k["face_px"]), int(k["source"]), _light(k.get("light"))) for k in keys_facts]
            left_out = tuple(
                LeftOut(str(n["name"])[:255], int(n["frame"]), str(n["reason"])[:1000])
                for n in facts.get("left_out", [])[:MAX_LEFT_OUT]
            )
            if any(not 0 < px < 1e6 or not 0 <= source < len(persona_sources) for px, source, _ in numbers):
                raise ValueError(f"face widths and sources of the keys are {numbers[:4]}")
            added = _detail(facts.get("detail"))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as e:
            raise DamagedAsset(f"{path}: persona facts are malformed ({e}).") from e
        consent = _consent(facts.get("consent"), path)
        shape = r.tensors("shape.safetensors")
        expect(
            shape,
            {
                "neutral_cm": ("float32", (478, 3)),
                "identity": ("float32", (None,)),
                "iris_linear": ("float32", (3,)),
                "skin_linear": ("float32", (3,)),
            },
            path / "shape",
        )
        bounded(shape, LARGEST, path / "shape")
        if shape["skin_linear"].min() <= 0:
            raise DamagedAsset(
                f"{path}: the skin's colour is {shape['skin_linear'].tolist()}; expected three numbers above 0"
            )
        keys = tuple(_key(r, i, *n) for i, n in enumerate(numbers))
        radiance = _field(r, facts.get("radiance"))
        stated = json.dumps(facts["consent"], sort_keys=True)
        members = [f"{n}:{m.sha256}" for n, m in sorted(r.manifest.members.items())]
        digest = hashlib.sha256("\n".join([stated, *members]).encode()).hexdigest()
    return Persona(
        name=name,
        consent=consent,
        keys=keys,
        sources=persona_sources,
        sha256=digest,
        radiance=radiance,
        left_out=left_out,
        detail=added,
        **shape,
    )


def _detail(facts: Any) -> AddedDetail | None:
    """Raises KeyError, TypeError or ValueError for malformed facts."""
    if facts is None:
        return None
    added = AddedDetail(float(facts["factor"]), str(facts["network"]))
    if not 1 <= added.factor <= 8:
        raise ValueError(f"added detail is {added}")
    return added


def _light_facts(light: KeyLight | None) -> dict[str, Any]:
    if light is None:
        return {}
    return {"light": {"toward": list(light.toward), "tint": list(light.tint), "group": light.group}}


def _light(facts: Any) -> KeyLight | None:
    """Raises KeyError, TypeError or ValueError for malformed facts."""
    if facts is None:
        return None
    (x, y), (red, blue) = facts["toward"], facts["tint"]
    values = [float(v) for v in (x, y, red, blue)]
    if not all(-20 < v < 20 for v in values):
        raise ValueError(f"light of a key is {values}")
    return KeyLight((values[0], values[1]), (values[2], values[3]), int(facts["group"]))


def _key(r: AssetReader, i: int, face_px: float, source: int, light: KeyLight | None) -> KeyAtlas:
    t = r.tensors(f"keys/{i:03d}.safetensors")
    s = t["albedo"].shape[0] if "albedo" in t and t["albedo"].ndim == 3 else 0
    if not 32 <= s <= 4096:
        raise DamagedAsset(f"{r.path}: atlas {i} is {s} px, expected 32..4096.")
    expect(
        t,
        {
            "albedo": ("float16", (s, s, 3)), "confidence": ("uint8", (s, s)), "actions": ("float32", (len(face_model().action_names),)),
            "view_deg": ("float32", (2,)),
        },
        r.path / f"key {i}",
    )  # fmt: skip
    bounded(t, LARGEST_OF_KEY, r.path / f"key {i}")
    return KeyAtlas(face_px=face_px, source=source, light=light, **t)


def _consent(facts: Any, path: Path) -> Consent:
    read: dict[str, Callable[[Any], Any]] = {
        "subject": str, "granted_by": str, "scope": tuple, "expires": date.fromisoformat, "evidence": str, "evidence_sha256": str,
    }  # fmt: skip
    if not isinstance(facts, dict) or set(facts) != set(read):
        raise ConsentError(
            f"{path}: carries no complete consent record, so it cannot be used. Build it again with --consent."
        )
    try:
        return Consent(**{k: f(facts[k]) for k, f in read.items()})
    except (TypeError, ValueError) as e:
        raise ConsentError(
            f"{path}: the consent record is malformed ({e}). Build the persona again with --consent."
        ) from e
