"""Decoding pictures from anywhere, within fixed limits of bytes and pixels."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kswap.errors import DataError, first_line

# Each format that is read, with its suffixes. Pillow chooses a decoder by the content, so the list is passed to it:
# for EPS, for one, it would start Ghostscript, whatever the file is called.
FORMATS = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "PPM": (".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)

# What one picture may take: more is taken for an attempt to fill the memory.
MOST_BYTES = 64 * 2**20
MOST_PIXELS = 64 * 2**20

# Filters of warnings belong to the process, not to a thread.
_OPENING = threading.Lock()


def decode(data: bytes, title: str, upright: bool = False) -> Image.Image:
    """The first frame of the picture in ``data``, as RGB or grey with 8 bits.

    Args:
        data: The content of a file in one of :data:`FORMATS`.
        title: What messages call the picture.
        upright: Whether to rotate it as its EXIF orientation says.

    Raises:
        DataError: It is not a picture, is damaged, or has more than :data:`MOST_PIXELS` pixels.
    """
    if len(data) > MOST_BYTES:
        raise DataError(f"{title} is too large for a picture: more than {MOST_BYTES // 2**20} MiB")
    try:
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is below Pillow's
            picture: Image.Image = Image.open(io.BytesIO(data), formats=tuple(FORMATS))
        width, height = picture.size
        if width * height <= MOST_PIXELS:
            picture.load()
            return rgb_or_grey(ImageOps.exif_transpose(picture) if upright else picture)
    except Image.DecompressionBombError as error:
        raise DataError(f"{title} has too many pixels: at most {MOST_PIXELS:,} are read") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{title} is not a picture that kswap reads ({', '.join(FORMATS)}): remove it, or save it as PNG"
        ) from error
    except Exception as error:  # decoders raise whatever a damaged file makes them raise
        raise DataError(f"{title} is a damaged picture ({first_line(error)}): remove it, or copy it again") from error
    raise DataError(f"{title} has too many pixels ({width:,} x {height:,}): at most {MOST_PIXELS:,} are read")


def read_picture(path: str | Path) -> Image.Image:
    """The picture in a file, upright.

    Raises:
        DataError: There is no such file, or :func:`decode` refuses it.

    >>> read_picture("no/such.png")
    Traceback (most recent call last):
    kswap.errors.DataError: there is no file no/such.png
    """
    place = Path(path)
    if not place.is_file():
        raise DataError(f"{place} is not a file" if place.exists() else f"there is no file {place}")
    return decode(read_bytes(place), str(place), upright=True)


def read_bytes(path: Path) -> bytes:
    """The content of a file, but no more than one byte above :data:`MOST_BYTES`. Raises :class:`DataError`."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def rgb_or_grey(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8))
    if picture.mode in ("1", "L"):
        return picture.convert("L")
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")
