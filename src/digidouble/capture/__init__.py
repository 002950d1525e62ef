"""Capture: source photographs and videos of a consenting person -> CaptureSet."""

from __future__ import annotations

from digidouble.capture.collect import capture
from digidouble.capture.consent import TEMPLATE, read_consent
from digidouble.capture.revoked import read_revocations
from digidouble.capture.settings import CaptureSettings

__all__ = ["TEMPLATE", "CaptureSettings", "capture", "read_consent", "read_revocations"]
