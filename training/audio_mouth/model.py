"""The audio-to-mouth network: a small temporal convolution over log-mel frames, with as much look-ahead as look-back."""

from __future__ import annotations

import torch
from torch import nn

MELS, OUTPUTS = 80, 6
DILATIONS = (1, 2, 4, 8, 16)
WIDTH = 96


class Block(nn.Module):
    """Two dilated convolutions beside a shortcut."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop(self.second(torch.relu(self.first(torch.relu(x)))))


class AudioMouth(nn.Module):
    """(batch, frames, 80) levelled log-mel at 100 Hz -> (batch, frames, 6) articulators, 0..1.2 (closure 0..1). Sees 0.65 s either way."""

    def __init__(self, width: int = WIDTH, dropout: float = 0.15) -> None:
        super().__init__()
        self.enter = nn.Conv1d(MELS, width, 5, padding=2)
        self.blocks = nn.Sequential(*(Block(width, d, dropout) for d in DILATIONS))
        self.leave = nn.Conv1d(width, OUTPUTS, 1)
        self.register_buffer("top", torch.tensor([1.2, 1.2, 1.0, 1.0, 1.0, 1.0])[None, :, None])

    def logits(self, mel: torch.Tensor) -> torch.Tensor:
        return self.leave(torch.relu(self.blocks(self.enter(mel.transpose(1, 2)))))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        return (torch.sigmoid(self.logits(mel)) * self.top).transpose(1, 2)
