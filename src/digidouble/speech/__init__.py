"""Speech: text or a recording to what the mouth does.

speech = read_text("Hello there.")                        # or read_audio(Path("voice.wav"), text="...")
curves = mouth_curves(speech, FrameRate(Fraction(25)))    # muscle actions and closures, frame by frame
"""

from __future__ import annotations

from digidouble.speech.curves import mouth_curves
from digidouble.speech.prosody import prosody
from digidouble.speech.read import read_audio, read_text
from digidouble.speech.settings import MouthStyle, SpeechSettings
from digidouble.speech.sound import write_wav
from digidouble.speech.text import guess_language
from digidouble.speech.voice import languages

__all__ = [
    "MouthStyle",
    "SpeechSettings",
    "guess_language",
    "languages",
    "mouth_curves",
    "prosody",
    "read_audio",
    "read_text",
    "write_wav",
]
