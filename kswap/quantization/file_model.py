"""An exported file as a module, so that what measures models measures files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from kswap.runtimes.formats.format import Format


class FileModel(nn.Module):
    """Calls an exported file with as many images as it takes, and returns its first output.

    Args:
        format_: The format of the file.
        path: The file.
        batch: The images that the file takes at a time.
    """

    def __init__(self, format_: Format, path: Path, batch: int) -> None:
        super().__init__()
        self._run = format_.read(path)
        self._batch = batch

    def forward(self, x: Tensor) -> Tensor:
        """``(N, classes)`` for ``(N, C, H, W)``, whatever N is."""
        found = []
        for part in torch.split(x, self._batch):
            missing = self._batch - len(part)
            filled = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
            found.append(self._run((filled,))[0][: len(part)])
        return torch.cat(found)
