"""`digidouble speak`: a double says a text, or what a recording says, with the emotion in the whole face."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import typer

from digidouble.acting import EMOTIONS, Beat, LifeSettings, act, infer, parse, text_of
from digidouble.app.analysed import analysed, open_plate
from digidouble.app.command import command
from digidouble.app.options import Options
from digidouble.app.perform import FOOTAGE
from digidouble.app.quality_report import quality_report, report_path
from digidouble.app.show import Show
from digidouble.app.swap import DELIVERY as SWAP_DELIVERY
from digidouble.app.swap import LOOK, consent_id
from digidouble.capture import read_revocations
from digidouble.deliver.audio import storable
from digidouble.deliver.movie import MOVIE_SUFFIXES
from digidouble.deliver.report import write_report
from digidouble.deliver.report_words import Theirs
from digidouble.deliver.settings import DeliverySettings
from digidouble.deliver.writer import open_writer
from digidouble.errors import CastingError, NoFace
from digidouble.farm import RenderResult, RenderSettings, left_out, render_shot
from digidouble.farm.gate import default_gate, frames_to_look_at, plate_shown
from digidouble.footage import Footage, FootageSettings
from digidouble.footage.still import scaled_still
from digidouble.performance import PerformSettings, analyse, load_performance
from digidouble.persona import load_persona
from digidouble.pipeline import written_plate
from digidouble.render import LookSettings
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.speech import Speech
from digidouble.schema.time import FrameRange
from digidouble.speech import MouthStyle, SpeechSettings, mouth_curves, prosody, read_audio, read_text, write_wav

DELIVERY = replace(SWAP_DELIVERY, only=tuple(n for n in SWAP_DELIVERY.only if n != "audio"))  # --audio is what is said
TAIL_S = 0.5  # the face stays this long after the last sound
RENDER = Options(RenderSettings, ("quality", "workers", "purpose", "revoked", "samples"), "Rendering")
VOICE = Options(SpeechSettings, ("voice", "voice_file", "language", "variant", "speed", "pitch"), "Voice")
LIFE = Options(
    LifeSettings, ("seed", "head", "blinks", "glances"), "Life (portraits; footage keeps its own head, eyes and blinks)"
)
MOUTH = Options(MouthStyle, ("effort", "jaw", "reach", "breath"), "Mouth")
TEXT_HELP = "What is said, in one or several languages; read by the voice, or, with --audio, aligned to it."
AUDIO_HELP = "A recording, delivered as it is. With --text the mouth follows its words, without it the sound alone."
REPORT_HELP = "Write OUT's report.html: contact sheet, curves, voice, emotion, labels, consent."
EMOTION_HELP = (
    "joy, joy:0.8, or a timeline '0:neutral 1.2:joy 3:laughter:0.6'. Known: "
    + ", ".join(EMOTIONS)
    + ". Not given: guessed from text and "
    "voice, and the report says how."
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    command(
        app, "speak",
        {"voice": VOICE, "life": LIFE, "mouth": MOUTH, "render": RENDER, "look": LOOK, "delivery": DELIVERY, "footage": FOOTAGE},
        "Examples: digidouble speak portrait.png --persona ada.persona --text 'Good morning!' --emotion joy:0.8 -o ada.mp4; "
        "digidouble speak plate.mp4 --persona ada.persona --audio voice.wav --text 'What the voice says.' -o ada.mov; "
        "digidouble speak portrait.png --persona ada.persona --text '大家好，欢迎！' -o ada.mp4",
    )(speak)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What is to be said and felt, and where that comes from, in words."""

    speech: Speech
    beats: tuple[Beat, ...]
    feeling: str


@dataclass(frozen=True)
class Job:
    """What is done to a plate."""

    persona: Persona
    life: LifeSettings
    mouth: MouthStyle
    render: RenderSettings
    delivery: DeliverySettings
    report: bool


def speak(
    show: Show,
    plate: Annotated[Path, typer.Argument(metavar="PLATE|PORTRAIT", help="Footage of a person, or one picture, which comes to life.")],
    persona: Annotated[Path, typer.Option("--persona", metavar="X.persona", help="Who speaks: see digidouble persona build.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="A movie (.mp4 .mov .mkv); a sequence has no sound.")],
    voice: SpeechSettings,
    life: LifeSettings,
    mouth: MouthStyle,
    render: RenderSettings,
    look: LookSettings,
    delivery: DeliverySettings,
    footage: FootageSettings,
    text: Annotated[str | None, typer.Option("--text", metavar="T", help=TEXT_HELP)] = None,
    audio: Annotated[Path | None, typer.Option("--audio", metavar="FILE", help=AUDIO_HELP)] = None,
    emotion: Annotated[str | None, typer.Option("--emotion", metavar="E[:0.8]", help=EMOTION_HELP)] = None,
    track: Annotated[str, typer.Option("--track", help="Which face speaks, where a plate shows several: an id (see: digidouble faces) or main.")] = "",
    report: Annotated[bool, typer.Option("--report/--no-report", help=REPORT_HELP)] = True,
) -> None:  # fmt: skip
    """Let a double speak: lips from text or a recording, emotion in the whole face, over footage or a portrait that comes to life.

    The double must be covered by consent, as in a swap, and the result carries the same labels. The same seed gives the same movie.
    """
    if text is None and audio is None:
        raise typer.BadParameter("say what: --text 'words', --audio FILE, or both", param_hint="--text / --audio")
    beats = parse(emotion) if emotion is not None else ()  # a slip of the pen should not take minutes
    double = load_persona(persona)
    double.consent.check(date.today(), render.purpose)
    read_revocations(render.revoked).check(double, date.today())
    for note in left_out({"main": double}, render.quality):
        show.warn(note)
    delivery = replace(delivery, quality=render.quality, consent_ids=(consent_id(double),))
    started = time.perf_counter()
    job = Job(double, life, mouth, replace(render, look=look), delivery, report)
    result, said, sound = _spoken(show, Words(plate, text, audio, voice, beats, track), out, job, footage)
    seconds = time.perf_counter() - started
    page = report_path(out) if report else None
    show.done(
        _record(result, said, sound, life, page, seconds),
        f"{out}: {said.speech.duration_s:.1f} s of speech, {result.frames} frames, in {seconds:.1f} s",
        f"voice: {said.speech.made_by}", f"emotion: {said.feeling}",
        *([f"{page}: report"] if page else []), f"{result.delivered.log}: delivery log",
    )  # fmt: skip


@dataclass(frozen=True)
class Words:
    """What is asked for: who is on which plate, and what is said there."""

    plate: Path
    text: str | None
    audio: Path | None
    voice: SpeechSettings
    beats: tuple[Beat, ...]
    track: str


def spoken(show: Show, plate: Path, persona: Path, text: str, emotion: str, out: Path) -> Path:
    """A text said by a persona on a portrait or footage with every setting at its default, for the purpose "demo". Raises as the command."""
    double = load_persona(persona)
    double.consent.check(date.today(), "demo")
    delivery = DeliverySettings(quality="draft", consent_ids=(consent_id(double),))
    job = Job(double, LifeSettings(), MouthStyle(), RenderSettings(purpose="demo"), delivery, True)
    _spoken(show, Words(plate, text, None, SpeechSettings(), parse(emotion), ""), out, job, FootageSettings())
    return out


def _spoken(show: Show, words: Words, out: Path, job: Job, footage: FootageSettings) -> tuple[RenderResult, Said, str]:
    """(the result, what was said and felt, what the sound is in words)."""
    with tempfile.TemporaryDirectory(prefix="digidouble-speak-") as name, _plate(words.plate, footage, show) as opened:
        folder, still = Path(name), opened.shot.frame_count == 1
        open_writer(out, replace(opened.shot, kind="movie", frame_count=2), job.delivery).abort()
        found = _analysis(opened, words.track, folder, show)
        said = _said(words, opened, show)
        delivery = replace(job.delivery, source_type=_source_type(still))
        job = replace(job, delivery=_with_sound(delivery, said.speech, out, folder, show))
        result, sound = _played(show, (opened, found, words.track or "main"), said, out, folder, job)
    return result, said, sound


@contextmanager
def _plate(path: Path, settings: FootageSettings, show: Show) -> Iterator[Footage]:
    """The plate, a large portrait made smaller."""
    with open_plate(path, settings, show) as opened:
        if opened.shot.kind != "image":
            yield opened
            return
        smaller = scaled_still(opened)
        if smaller.shot.size_wh != opened.shot.size_wh:
            show.warn(
                "the portrait of {}x{} pixels is used at {}x{}".format(*opened.shot.size_wh, *smaller.shot.size_wh)
            )
        yield smaller


def _analysis(plate: Footage, track: str, folder: Path, show: Show) -> Performance:
    """Who is on the plate. One that is analysed now is shown to the content gate.

    Raises:
        NoFace: nobody. CastingError: a portrait shows several faces and none is named, or there is no such track.
    """
    shot, settings = plate.shot, PerformSettings()
    still = shot.frame_count == 1
    looked_at = frames_to_look_at(FrameRange(0, shot.frame_count), float(shot.rate.fps))
    shown = plate_shown(default_gate(), looked_at)
    kept = analyse(plate, folder / "portrait.perf", settings, shown=shown) if still else None
    found = load_performance(kept) if kept else analysed(plate, settings, show, shown).performance
    if not found.tracks:
        raise NoFace(
            f"{shot.path}: no face was found, so nobody can speak here. Use a picture or footage that shows one face clearly."
        )
    if not track and still and len(found.tracks) > 1:
        ids = ", ".join(f"{t.track_id} (at {t.origin_px[0][0]:.0f}, {t.origin_px[0][1]:.0f} px)" for t in found.tracks)
        raise CastingError(
            f"{shot.path}: the portrait shows {len(found.tracks)} faces; say who speaks with --track: {ids}"
        )
    if not track and len(found.tracks) > 1:
        show.warn(
            f"{len(found.tracks)} faces on the plate; the heaviest, track {found.tracks[0].track_id}, speaks (--track chooses another)"
        )
    found.track(track or "main")
    return found


def _said(words: Words, plate: Footage, show: Show) -> Said:
    """Speech with its times, and the emotion that was asked for or is guessed."""
    if words.audio is not None:
        show.say("listening" if words.text is None else "aligning the text to the recording")
        speech = read_audio(words.audio, words.text or "", words.voice)
    else:
        speech = read_text(words.text or "", words.voice)
    for notice in speech.notices:
        show.warn(notice)
    if words.beats:
        return Said(speech, words.beats, f"{text_of(words.beats)}, as asked")
    guess = infer(words.text or "", speech, prosody(speech, plate.shot.rate))
    return Said(speech, guess.beats, f"{text_of(guess.beats)} ({guess.why})")


def _with_sound(delivery: DeliverySettings, speech: Speech, out: Path, folder: Path, show: Show) -> DeliverySettings:
    """The delivery with the speech as its sound."""
    if out.suffix.lower() not in MOVIE_SUFFIXES:
        show.warn(f"{out.name} holds pictures only; the sound is left out")
        return replace(delivery, audio=False)
    source = speech.source or write_wav(speech, folder / "voice.wav")
    sound, became = storable(source, out, folder, keep=speech.source is not None)
    if speech.source is not None and sound != source:
        show.warn(f"the recording: {became}")
    return replace(delivery, sound=sound)


def _source_type(still: bool) -> Any:
    """IPTC digital source type (docs/labels.md): a portrait that speaks was never filmed."""
    return "trainedAlgorithmicMedia" if still else "compositeWithTrainedAlgorithmicMedia"


def _played(
    show: Show, plate: tuple[Footage, Performance, str], said: Said, out: Path, folder: Path, job: Job
) -> tuple[RenderResult, str]:
    """Write the performance, render and report it. Returns the result, and what the sound is, in words."""
    footage, found, track = plate
    rate = footage.shot.rate
    frames = ceil((said.speech.duration_s + TAIL_S) * float(rate.fps))
    curves, melody = mouth_curves(said.speech, rate, frames, job.mouth), prosody(said.speech, rate, frames)
    acting = act(rate, curves, melody, said.beats, job.life, frames)
    if 1 < footage.shot.frame_count < frames:
        show.warn(
            f"the plate has {footage.shot.frame_count} frames and the speech takes {frames}: it is played to and fro"
        )
    written = {
        "text": said.speech.text, "sound": said.speech.made_by, "mouth": curves.made_by, "emotion": said.feeling, "seed": job.life.seed,
    }  # fmt: skip
    with show.progress("acting") as progress:
        acted, performance = written_plate(footage, found, track, acting, folder / "written.perf", written, progress)
    with show.progress("rendering") as progress:
        result = render_shot(
            acted, performance, {"main": job.persona}, out, job.render, job.delivery, progress, default_gate()
        )
    for warning in result.delivered.warnings:
        show.warn(warning)
    made = "made by this program (AI voice)" if said.speech.source is None else f"recording {said.speech.source.name}"
    if job.report:
        text = Theirs(said.speech.text) if said.speech.text else "none given"
        facts = {
            "Voice": f"{made}; {said.speech.made_by}", "Language": said.speech.language or "not told", "Text": text,
            "Mouth from": {"visemes": "phones and their times", "audio": "the sound alone"}.get(curves.made_by, curves.made_by),
            "Emotion": said.feeling, "Seed": str(job.life.seed), "Plate is": "a portrait brought to life" if footage.shot.frame_count == 1 else "footage",
            "Quality": job.render.quality,
        }  # fmt: skip
        write_report(
            report_path(out), quality_report(result, performance, {"main": job.persona}, facts, tuple(footage.warnings))
        )
    return result, made


def _record(
    result: RenderResult, said: Said, sound: str, life: LifeSettings, page: Path | None, seconds: float
) -> dict[str, Any]:
    """The result for machines."""
    delivered = result.delivered
    return {
        "files": [{"path": f.path, "bytes": f.size_bytes, "sha256": f.sha256} for f in delivered.files],
        "log": delivered.log, "report": page, "frames": result.frames, "wall_s": seconds,
        "speech": {
            "seconds": said.speech.duration_s, "language": said.speech.language, "text": said.speech.text, "made_by": said.speech.made_by,
            "voice": sound, "phones": len(said.speech.phones),
        },
        "emotion": {"timeline": text_of(said.beats), "from": said.feeling}, "seed": life.seed, "encoding": delivered.encoding,
        "visible_label_frames": delivered.visible_label_frames, "source_type": delivered.labels.source_type,
        "provenance": delivered.provenance, "sidecars": [f.path for f in delivered.sidecars], "content_gate": result.gate,
        "stages_s": result.stages,
    }  # fmt: skip
