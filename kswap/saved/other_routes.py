"""Ways to save a model that cannot bring a converted one back, and the warning that says which can.

``save_pretrained`` of transformers and ``save_for_hf`` of timm write weights beside the configuration of the original
class: ``from_pretrained`` builds the unconverted model with fresh weights where the blocks were, and timm refuses to
load at all. Neither asks the model, but both read its state.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_ROUTES = {
    "save_pretrained": "from_pretrained would build the original class, with fresh weights where the blocks are",
    "save_for_hf": "timm would build the original, which these weights do not fit",
    "push_to_hf_hub": "timm would build the original, which these weights do not fit",
}
# How far above the reading of the state the saving function is: itself, or something that it calls.
_MOST_FRAMES = 12


def warn_where_saved_otherwise_(model: nn.Module) -> None:
    """Let ``model`` warn when one of these functions saves it. Copies and pickles of it warn too."""
    if _warn not in model._state_dict_pre_hooks.values():
        model.register_state_dict_pre_hook(_warn)  # type: ignore[no-untyped-call]


def _warn(_module: nn.Module, _prefix: str, _keep_vars: bool) -> None:
    frame, left = sys._getframe(1), _MOST_FRAMES
    while frame.f_back is not None and left:
        frame, left = frame.f_back, left - 1
        consequence = _ROUTES.get(frame.f_code.co_name)
        if consequence is not None:
            warnings.warn(
                f"{frame.f_code.co_name} cannot bring back a model that kswap converted: {consequence}. "
                "Save with conversion.save(directory), and load with kswap.load(directory); to share it, "
                'conversion.push_to_hub("owner/name").',
                UserWarning,
                stacklevel=_MOST_FRAMES - left + 3,
            )
            return
