"""The authors' layer names: which part of which block a Keras layer belongs to. Never imports torch.

Where the authors replace a pointwise convolution named ``blk``, the Keras network holds these layers:

* scheme v2, one path: ``blk_c1_m20_conv`` (20 groups) is K and ``blk_c2_m20_conv`` is L; ``blk_c2_dum_conv``
  is a dense L;
* scheme v2, two paths: ``blk_c1_p1_72_conv`` (72 groups) and ``blk_c1_p2_conv`` are the first and the second
  path of K, ``blk_c2_p1_3_conv`` and ``blk_c2_p2_conv`` those of L;
* scheme v2, kept: ``blk_um_conv``, or ``blk_c1_dum_conv`` where K would be one dense group;
* scheme v1: ``blk_conv`` is K, or the convolution that is kept, and ``blk_group_interconn_conv`` is L.

A norm ends in ``_bn`` instead of ``_conv``. Each path has a norm of its own there; here K and L have one each,
which holds the channels of the first path and then those of the second.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_NAME = re.compile(
    r"(?P<base>.+?)"
    r"(?:(?P<v2>_c(?P<place>[12])_(?:(?:p1_\d+|m\d+|dum)|(?P<second>p2))|_um)|(?P<interconn>_group_interconn))?"
    r"_(?P<kind>conv|bn)"
)


@dataclass(frozen=True)
class BlockPart:
    """One layer of a block: ``place`` is ``"k"`` or ``"l"``, ``path`` ``"first"`` or ``"second"``, ``kind``
    ``"conv"`` or ``"norm"``. A convolution that is kept, and its norm, are the first path of K.

    ``scheme`` is part of it: a layer may have the same shape in both schemes and another interleave after it.
    """

    scheme: str
    base: str
    place: str
    path: str
    kind: str


def block_part(name: str) -> BlockPart | None:
    """The part of a block that the Keras layer ``name`` is; ``None`` for a name that no block has.

    >>> block_part("blk_c1_p1_72_conv")
    BlockPart(scheme='v2', base='blk', place='k', path='first', kind='conv')
    >>> block_part("blk_c2_p2_bn")
    BlockPart(scheme='v2', base='blk', place='l', path='second', kind='norm')
    >>> block_part("conv_pw_5_bn_group_interconn_conv")
    BlockPart(scheme='v1', base='conv_pw_5_bn', place='l', path='first', kind='conv')
    >>> block_part("top_um_bn")
    BlockPart(scheme='v2', base='top', place='k', path='first', kind='norm')
    >>> print(block_part("avg_pool"))
    None
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    is_l = found["place"] == "2" or found["interconn"] is not None
    return BlockPart(
        scheme="v2" if found["v2"] else "v1",
        base=found["base"],
        place="l" if is_l else "k",
        path="second" if found["second"] else "first",
        kind="conv" if found["kind"] == "conv" else "norm",
    )


_COUNTED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")


def renumbered(names: Iterable[str]) -> dict[str, str]:
    """New names for layers without a name of their own (``conv2d_57``), numbered from 0 in their order, by old name.

    Keras numbers them over a whole session, so that a network that was not built first has other numbers.

    >>> renumbered(["conv2d_7", "conv2d_9", "conv1", "batch_normalization"])
    {'conv2d_7': 'conv2d', 'conv2d_9': 'conv2d_1', 'batch_normalization': 'batch_normalization'}
    """
    found = [(match[1], int(match[2] or 0), name) for name in names if (match := _COUNTED.fullmatch(name))]
    counted: dict[str, str] = {}
    for kind in ("conv2d", "batch_normalization"):
        for rank, (_, _, name) in enumerate(sorted(entry for entry in found if entry[0] == kind)):
            counted[name] = f"{kind}_{rank}" if rank else kind
    return counted
