"""Names of the ways to resize and crop. Without torch, so that the command line can list them."""

from __future__ import annotations

# Our names of interpolations, and timm's. Nearest from 32x32 to 224x224 repeats each pixel 7x7, as in the papers.
TIMM_INTERPOLATION = {"cubic": "bicubic", "linear": "bilinear", "nearest": "nearest", "lanczos": "lanczos"}
RESIZES = tuple(TIMM_INTERPOLATION)
CROP_MODES = ("center", "squash", "border")
