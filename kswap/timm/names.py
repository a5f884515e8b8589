"""Names of converted models in timm's registry: ``kswap_ORIGINAL.chN`` and ``kswap_ORIGINAL.chN_SCHEME``.

timm reads a name up to the first dot as the architecture and the rest as a tag, and refuses slashes: an architecture
of kswap is the original's name after ``kswap_``, and the tag says how it was converted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# The Ch of the papers and their neighbours; a tag with any other number works in timm.create_model all the same.
LISTED_CH = (4, 8, 16, 32, 64, 128)
LISTED_SCHEMES = ("v2", "v1")
_TAG = re.compile(r"ch([1-9]\d{0,5})(?:_(v1|v2))?")


@dataclass(frozen=True)
class Variant:
    """Channels per group and scheme, as a tag says them.

    >>> Variant(16).tag, Variant(32, "v1").tag
    ('ch16', 'ch32_v1')
    """

    ch: int
    scheme: str = "v2"

    @property
    def tag(self) -> str:
        return f"ch{self.ch}" if self.scheme == "v2" else f"ch{self.ch}_{self.scheme}"

    @classmethod
    def of_tag(cls, tag: str) -> Variant | None:
        """The variant that a tag names, or ``None`` for one that is not of kswap.

        >>> Variant.of_tag("ch8_v1"), Variant.of_tag("ra_in1k")
        (Variant(ch=8, scheme='v1'), None)
        """
        found = _TAG.fullmatch(tag)
        return cls(int(found[1]), found[2] or "v2") if found else None


LISTED = tuple(Variant(ch, scheme) for ch in LISTED_CH for scheme in LISTED_SCHEMES)
