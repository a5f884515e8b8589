"""Which split of a data set is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kswap.errors import DataError, excerpt, nearest

# The folder that a data set with splits keeps its training pictures in.
TRAIN = "train"
# What a split to train on is called, the first that is there first.
_TRAINING = (TRAIN, "trainval", "training")

# From what messages call a data set, and the splits that it has, to the one that is taken.
ChooseSplit = Callable[[str, Sequence[str]], str | None]


def chosen_split(source: str, splits: Sequence[str], split: str | None) -> str | None:
    """The split asked for, or the only one. Raises :class:`DataError` where there are several, or no such one.

    >>> chosen_split("photos", ["train"], None)
    'train'
    """
    if split is None:
        if len(splits) > 1:
            raise DataError(f"{source} has the splits {', '.join(splits)}: choose one with --split (split= in Python)")
        return splits[0] if splits else None
    if not splits:
        raise DataError(f"{source} has class folders and no splits: leave out --split (split= in Python)")
    if split not in splits:
        raise DataError(f"{source} has no split '{excerpt(split)}': it has {', '.join(splits)}{nearest(split, splits)}")
    return split


def training_split(source: str, splits: Sequence[str], split: str | None) -> str | None:
    """As :func:`chosen_split`, but where none is asked for, the one to train on.

    >>> training_split("photos", ["test", "train"], None)
    'train'
    """
    found = next((name for name in _TRAINING if name in splits), None)
    return found if split is None and found is not None else chosen_split(source, splits, split)
