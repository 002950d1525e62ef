"""The error tree. Every error a user can cause is one of these; each also is the natural built-in.

    DigidoubleError
    ├── MediaError (OSError)              a media file cannot be read as what it claims to be
    │   ├── UnreadableMedia               damaged, truncated, empty, not a picture or movie
    │   ├── NoPicture                     no video stream (audio only, text, ...)
    │   ├── NoSound                       no audio stream, or no sample in it
    │   ├── MissingFrame                  a numbered sequence has a hole
    │   └── VariableRate                  frame times are not a constant rate and the policy is `refuse`
    ├── OutputError (OSError)             a result cannot be written; nothing is left under the final name
    ├── FaceError (ValueError)
    │   ├── NoFace                        no face where one is needed
    │   └── SeveralFaces                  more than one, and no choice was made
    ├── ConsentError (PermissionError)    no consent record, expired, out of scope, revoked
    ├── ContentRefused (PermissionError)  adult content on the plate or in the result
    ├── AssetError (ValueError)           a .persona or .perf cannot be trusted
    │   ├── DamagedAsset                  hash, key, shape or size is wrong
    │   ├── NewerSchema                   written by a newer version
    │   ├── OlderSchema                   a performance that lacks what this version needs
    │   └── UnsafeAsset                   path escape, decompression bomb, link
    ├── WeightsError (RuntimeError)       a model file is missing, damaged, or may not be fetched (--offline)
    ├── VoiceError (RuntimeError)         a voice is not installed, or its process died or hung
    ├── FarmError (RuntimeError)          workers were lost, or the cluster that was asked for is not there
    ├── CastingError (ValueError)         a cast names a track or persona that is not there
    ├── SettingsError (ValueError)        an option's value is outside what it can be
    └── CampaignError (ValueError)        a campaign file or table of viewers is not what it should be; names line and column

A message says what happened, where, what was expected, what was found and what to do.
"""

from __future__ import annotations


class DigidoubleError(Exception):
    """Root of every error that is the input's or the environment's fault, not the program's."""


class MediaError(DigidoubleError, OSError):
    """A media file cannot be used."""


class UnreadableMedia(MediaError):
    """The file is damaged, truncated, empty or no media at all."""


class NoPicture(MediaError):
    """The file holds no pictures."""


class NoSound(MediaError):
    """The file holds no sound."""


class MissingFrame(MediaError):
    """A numbered sequence has a hole in it."""


class VariableRate(MediaError):
    """The frames are not evenly spaced in time and the policy refuses that."""


class OutputError(DigidoubleError, OSError):
    """A result cannot be written."""


class FaceError(DigidoubleError, ValueError):
    """The faces found are not the faces needed."""


class NoFace(FaceError):
    """No face was found where one is needed."""


class SeveralFaces(FaceError):
    """Several faces were found and none was chosen."""


class ConsentError(DigidoubleError, PermissionError):
    """The consent record is absent, incomplete, expired, out of scope or revoked."""


class ContentRefused(DigidoubleError, PermissionError):
    """The content gate refused the plate or the result."""


class AssetError(DigidoubleError, ValueError):
    """A persona or performance on disk cannot be trusted."""


class DamagedAsset(AssetError):
    """A hash, key, shape or size differs from what the manifest promises."""


class NewerSchema(AssetError):
    """The asset was written by a newer version of Digidouble."""


class OlderSchema(AssetError):
    """The performance was analysed by an older version and lacks what this one needs; the plate has it all."""


class UnsafeAsset(AssetError):
    """The asset tries to leave its folder, or expands beyond its bounds."""


class WeightsError(DigidoubleError, RuntimeError):
    """A model file is missing or damaged, or fetching it is not allowed."""


class VoiceError(DigidoubleError, RuntimeError):
    """A voice cannot speak: it is not installed, or its process failed."""


class FarmError(DigidoubleError, RuntimeError):
    """Workers were lost too often, or the cluster asked for cannot be used."""


class CastingError(DigidoubleError, ValueError):
    """A casting names something that is not there."""


class SettingsError(DigidoubleError, ValueError):
    """A setting's value is outside its range."""


class CampaignError(DigidoubleError, ValueError):
    """A campaign file, a table of viewers, or a row of it, is not what it should be."""
