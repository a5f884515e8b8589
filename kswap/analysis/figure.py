"""Class activation maps as pictures: the heat over the picture, with a caption, side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from kswap.analysis.cam import Cam
from kswap.errors import DataError
from kswap.files import write_file

SIDE = 448
_GAP, _LINE, _FONT, _KEY = 12, 22, 15, 16
_INK, _PAPER = (20, 20, 20), (255, 255, 255)

# Turbo (A. Mikhailov, 2019) at 18 even steps: like "jet", but perceptually even and without false edges. Values in
# between are interpolated.
_TURBO = (
    (48, 18, 59),
    (63, 62, 156),
    (70, 102, 221),
    (69, 140, 253),
    (47, 178, 244),
    (26, 212, 208),
    (34, 235, 170),
    (82, 250, 122),
    (139, 255, 75),
    (183, 247, 53),
    (219, 226, 54),
    (245, 197, 58),
    (254, 161, 48),
    (249, 117, 29),
    (232, 75, 12),
    (206, 45, 4),
    (169, 22, 1),
    (122, 4, 3),
)


def turbo(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours ``(h, w, 3)`` for values from 0 (dark blue) to 1 (dark red).

    >>> turbo(np.array([[0.0, 1.0]], dtype=np.float32)).tolist()
    [[[48, 18, 59], [122, 4, 3]]]
    """
    steps = np.linspace(0, 1, len(_TURBO))
    colours = np.stack([np.interp(heat, steps, channel) for channel in np.array(_TURBO).T], axis=2)
    made: NDArray[np.uint8] = colours.round().astype(np.uint8)
    return made


def _shown(picture: Image.Image, side: int) -> Image.Image:
    """``picture`` in RGB, its longer side ``side`` pixels long; the pixels of small pictures stay visible."""
    scale = side / max(picture.size)
    width, height = (max(1, round(edge * scale)) for edge in picture.size)
    resample = Image.Resampling.NEAREST if scale > 3 else Image.Resampling.BICUBIC
    return picture.convert("RGB").resize((width, height), resample)


def overlay(cam: Cam, side: int = SIDE, strength: float = 0.5) -> Image.Image:
    """The picture under its heat, the longer side ``side`` pixels long; ``strength`` is the share of the heat."""
    picture = _shown(cam.picture, side)
    return Image.blend(picture, Image.fromarray(turbo(cam.heat_at(picture.size))), strength)


def caption(cam: Cam, class_name: str | None = None) -> tuple[str, str]:
    """Two lines: the model, and the class with its probability."""
    name = f"class {cam.class_index}" + (f" ({class_name})" if class_name else "")
    return cam.title, f"{name}, {cam.probability:.1%}"


def figure(cams: Sequence[Cam], class_names: Sequence[str] | None = None, side: int = SIDE) -> Image.Image:
    """The picture itself and then, side by side, each map over its picture, with captions below.

    Args:
        cams: The maps, at least one.
        class_names: The names of the models' classes, for the captions.
        side: The longer side of each panel in pixels.

    Raises:
        DataError: There is no map.
    """
    if not cams:
        raise DataError("a figure needs at least one class activation map")
    width, height = cams[0].picture.size
    panels = [(_shown(cams[0].picture, side), ("picture", f"{width} x {height} pixels that the model sees"))]
    for cam in cams:
        names = class_names if class_names and cam.class_index < len(class_names) else None
        panels.append((overlay(cam, side), caption(cam, names[cam.class_index] if names else None)))
    key = _key(panels[0][0].height)
    wide = sum(picture.width for picture, _ in panels) + _GAP * (len(panels) + 2) + key.width
    high = max(picture.height for picture, _ in panels) + 2 * _GAP + 2 * _LINE
    canvas = Image.new("RGB", (wide, high), _PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT)
    left = _GAP
    for picture, lines in panels:
        canvas.paste(picture, (left, _GAP))
        for number, line in enumerate(lines):
            place = (left, high - _GAP - (2 - number) * _LINE)
            draw.text(place, _fitted(line, font, picture.width), fill=_INK, font=font)
        left += picture.width + _GAP
    canvas.paste(key, (left, _GAP))
    return canvas


def _key(height: int) -> Image.Image:
    """What the colours mean: a strip from 1, the most evidence, down to 0, none or evidence against."""
    values = np.repeat(np.linspace(1, 0, height, dtype=np.float32)[:, None], _KEY, axis=1)
    made = Image.new("RGB", (2 * _KEY, height), _PAPER)
    made.paste(Image.fromarray(turbo(values)), (0, 0))
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(_FONT)
    draw.text((_KEY + 4, 0), "1", fill=_INK, font=font, anchor="lt")
    draw.text((_KEY + 4, height), "0", fill=_INK, font=font, anchor="lb")
    return made


def _fitted(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """``line``, its beginning left out where it is too long: the end of a path says most."""
    kept = line
    while len(kept) > 1 and font.getlength(kept if kept == line else f"...{kept}") > width:
        kept = kept[1:]
    return kept if kept == line else f"...{kept}"


def save_figure(picture: Image.Image, path: Path) -> None:
    """Write a PNG, whole or not at all. Raises :class:`DataError` where that fails."""
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG")
    write_file(path, encoded.getvalue(), DataError)
