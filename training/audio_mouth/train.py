"""Train the audio-to-mouth network on what `collect.py` wrote, and export it.

    train.py --material DIR --out RUN [--epochs 24] [--threads 2] [--minutes 15]

Resumable (RUN/state.pt); RUN/curve.csv is the record; RUN/audio-mouth.onnx the result. Every chunk is heard anew: other pitch and
formants (resampling), colour, room, noise, music of sines, telephone bands, level. GRID's speakers and expressions_yaw are never in it.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from model import AudioMouth
from torch import nn

from digidouble.speech.articulation import CLOSURE, GRID_HZ
from digidouble.speech.features import levelled, log_mel
from digidouble.speech.sound import ANALYSIS_HZ

CHUNK_S = 3.0
SHARES = {"made": 1.0, "read": 8.0, "seen": 20.0}  # how often a second of each kind is heard, against its length
NOTHING = 0.08  # chunks without any voice: the mouth stays shut
CLOSURE_WEIGHT, SLOPE_WEIGHT = 0.4, 4.0
STEP = ANALYSIS_HZ // GRID_HZ


class Material:
    """Chunks of sound with their targets."""

    def __init__(self, folder: Path, rng: np.random.Generator, held_out: bool) -> None:
        self.rng = rng
        self.items = []
        for k, path in enumerate(sorted(folder.glob("*.npz"))):
            kind = path.name.split("_")[0]
            # Held out: one in twelve readings, and one recorded speaker (the sonnet's).
            out = (kind == "made" and k % 12 == 0) or "sonnet" in path.name
            if out == held_out:
                with np.load(path, allow_pickle=False) as f:
                    self.items.append(
                        (kind, f["samples"].astype(np.float32) / 32768, f["target"].astype(np.float32), f["known"])
                    )
        weight = np.array([SHARES[kind] * len(s) for kind, s, _, _ in self.items])
        self.chance = weight / weight.sum()
        self.seconds = sum(len(s) for _, s, _, _ in self.items) / ANALYSIS_HZ

    def chunk(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(levelled log-mel, target, known) of CHUNK_S."""
        rng, rows = self.rng, round(CHUNK_S * GRID_HZ)
        known = np.ones(6, bool)
        if rng.random() < NOTHING:
            sound, target = np.zeros(rows * STEP, np.float32), np.zeros((rows, 6), np.float32)
            sound = with_noise(sound + 1e-4 * rng.standard_normal(len(sound)).astype(np.float32), rng, 0.05)
        else:
            _, samples, targets, known = self.items[rng.choice(len(self.items), p=self.chance)]
            factor = float(np.exp(rng.normal(0, 0.10)))  # >1: faster, higher, smaller throat
            need = int(np.ceil(rows * factor))
            samples = np.pad(samples, (STEP * 30, STEP * max(30, need - len(targets))))
            targets = np.pad(targets, ((30, max(30, need - len(targets))), (0, 0)))
            at = int(rng.integers(0, max(1, min(len(targets), len(samples) // STEP) - need)))
            piece = samples[at * STEP : (at + need) * STEP]
            x = np.linspace(0, len(piece) - 1, rows * STEP)
            sound = np.interp(x, np.arange(len(piece)), piece).astype(np.float32)
            y = np.linspace(0, need - 1, rows)
            target = np.stack([np.interp(y, np.arange(need), c[at : at + need]) for c in targets.T], 1).astype(
                np.float32
            )
            sound = changed(sound, rng)
        mel = levelled(log_mel(sound))[:rows] + rng.normal(0, 0.06)
        if rng.random() < 0.4:  # a band that is missing
            low, wide = rng.integers(0, 72), rng.integers(2, 9)
            mel[:, low : low + wide] = mel.mean()
        return mel.astype(np.float32), target, known

    def batch(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mel, target, known = zip(*(self.chunk() for _ in range(count)), strict=True)
        return torch.from_numpy(np.stack(mel)), torch.from_numpy(np.stack(target)), torch.from_numpy(np.stack(known))


def changed(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same words in another room, over another line."""
    spectrum = np.fft.rfft(sound)
    hz = np.fft.rfftfreq(len(sound), 1 / ANALYSIS_HZ)
    octave = np.log2(np.maximum(hz, 50) / 1000)
    knots = rng.normal(0, 4, 7)  # decibels about every octave
    colour = rng.normal(0, 3) * octave + np.interp(octave, np.linspace(-4, 3, 7), knots)
    if rng.random() < 0.3:
        top = rng.uniform(2800, 7000)
        colour = colour - 60 * np.clip((hz - top) / 800, 0, 1)
    sound = np.fft.irfft(spectrum * 10 ** (colour / 20), len(sound)).astype(np.float32)
    if rng.random() < 0.5:
        length = int(rng.uniform(0.05, 0.4) * ANALYSIS_HZ)
        tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length) * rng.uniform(0.02, 0.15)
        tail[0] = 1
        size = len(sound) + length
        sound = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)[: len(sound)].astype(np.float32)
    power = float(np.sqrt(np.mean(sound**2))) + 1e-6
    return with_noise(sound, rng, power * 10 ** (-rng.uniform(5, 45) / 20))


def with_noise(sound: np.ndarray, rng: np.random.Generator, level: float) -> np.ndarray:
    """White to brown noise, or chords of sines, of the given root mean square."""
    n = len(sound)
    if rng.random() < 0.75:
        slope = rng.uniform(0, 1.0)
        spectrum = np.fft.rfft(rng.standard_normal(n)) / np.maximum(np.arange(n // 2 + 1), 1) ** slope
        noise = np.fft.irfft(spectrum, n)
    else:
        t, noise = np.arange(n) / ANALYSIS_HZ, np.zeros(n)
        for _ in range(rng.integers(2, 7)):
            base, start, length = (
                110 * 2 ** (rng.integers(0, 36) / 12),
                rng.uniform(-0.5, CHUNK_S),
                rng.uniform(0.2, 1.5),
            )
            shape = np.clip((t - start) * 20, 0, 1) * np.exp(-np.maximum(t - start, 0) / length)
            noise += shape * sum(np.sin(2 * np.pi * base * h * t) / h for h in range(1, 6))
    return (sound + noise * level / (np.sqrt(np.mean(noise**2)) + 1e-9)).astype(np.float32)


def loss_of(model: AudioMouth, mel: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    logits = model.logits(mel).transpose(1, 2)
    out = torch.sigmoid(logits) * model.top.transpose(1, 2)
    weight = known[:, None, :].float()
    kept = torch.ones(6, dtype=torch.bool)
    kept[CLOSURE] = False
    error = ((out - target) ** 2 * weight)[..., kept].mean()
    slope = (((out[:, 1:] - out[:, :-1]) - (target[:, 1:] - target[:, :-1])) ** 2 * weight)[..., kept].mean()
    shut = nn.functional.binary_cross_entropy_with_logits(
        logits[..., CLOSURE], target[..., CLOSURE].clamp(0, 1), reduction="none"
    )
    return error + SLOPE_WEIGHT * slope + CLOSURE_WEIGHT * 0.1 * (shut * weight[..., CLOSURE]).mean()


def export(model: AudioMouth, path: Path) -> None:
    model.eval()
    names = {"input_names": ["mel"], "output_names": ["articulators"]}
    axes = {"mel": {1: "frames"}, "articulators": {1: "frames"}}
    torch.onnx.export(
        model, (torch.zeros(1, 300, 80),), str(path), dynamic_axes=axes, opset_version=17, dynamo=False, **names
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    rng = np.random.default_rng(a.seed)
    training, held = Material(a.material, rng, False), Material(a.material, np.random.default_rng(1), True)
    print(f"{len(training.items)} items, {training.seconds / 60:.1f} min; held out {held.seconds / 60:.1f} min")
    check = held.batch(48)
    model = AudioMouth()
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-3)
    total = a.epochs * a.steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=total + 1)
    state, first = a.out / "state.pt", 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        first = saved["epoch"]
    started = time.monotonic()
    for epoch in range(first, a.epochs):
        model.train()
        losses = []
        for _ in range(a.steps):
            loss = loss_of(model, *training.batch(a.batch))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            mel, target, _known = check
            out = model(mel)
            value = loss_of(model, *check).item()
            r = np.corrcoef(out[..., 0].flatten().numpy(), target[..., 0].flatten().numpy())[0, 1]
        row = [
            epoch + 1,
            round(float(np.mean(losses)), 5),
            round(value, 5),
            round(float(r), 4),
            round(time.monotonic() - started),
        ]
        print(*row, flush=True)
        with (a.out / "curve.csv").open("a", newline="") as f:
            csv.writer(f).writerow(row)
        torch.save(
            {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "epoch": epoch + 1,
            },
            state,
        )
        export(model, a.out / "audio-mouth.onnx")
        if time.monotonic() - started > a.minutes * 60:
            break


if __name__ == "__main__":
    main()
