"""The low-rank kind: two dense pointwise layers, ``Ic -> r -> F``, with nothing in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from kswap.errors import PlanError
from kswap.planner.block_plan import BlockPlan, check_whole
from kswap.planner.kinds.kind import BlockKind, BlockSettings, check_rank
from kswap.planner.schemes import check_channels, plan_layer


@dataclass(frozen=True)
class LowRankPlan(BlockPlan):
    """``rank`` channels between two pointwise layers, or ``None`` when the layer is kept.

    ``ch`` and ``scheme`` say what the rank was chosen by, if it was not given. The first layer has no bias;
    norm and activation stay outside the block, so the block is one linear map of the rank.

    >>> plan = LowRankPlan(1152, 320, ch=16, scheme="v2", rank=7, reason="")
    >>> plan.weights
    10304
    """

    kind: ClassVar[str] = "low-rank"
    absorbs: ClassVar[bool] = False

    in_channels: int
    out_channels: int
    ch: int
    scheme: str
    rank: int | None
    reason: str = field(compare=False)

    def __post_init__(self) -> None:
        if self.rank is None:
            return
        check_rank(self.rank)
        if self.weights >= self.dense_weights:
            raise PlanError(
                f"rank {self.rank} takes {self.weights:,} weights and the dense layer {self.dense_weights:,}: "
                "nothing is gained"
            )

    @property
    def replaces(self) -> bool:
        return self.rank is not None

    @property
    def weights(self) -> int:
        if self.rank is None:
            return self.dense_weights
        return self.rank * (self.in_channels + self.out_channels)

    @property
    def biases(self) -> int:
        return self.out_channels

    @property
    def filters(self) -> int:
        return self.out_channels + (self.rank or 0)

    @property
    def copies(self) -> int:
        return 1

    @property
    def narrowest(self) -> int:
        return self.rank or self.in_channels

    def short(self) -> str:
        """``rank 7``."""
        return "kept" if self.rank is None else f"rank {self.rank}"

    def shape_to_json(self) -> dict[str, Any]:
        return {"ch": self.ch, "scheme": self.scheme, "rank": self.rank}

    @classmethod
    def shape_from_json(cls, data: dict[str, Any], in_channels: int, out_channels: int, what: str) -> LowRankPlan:
        if not isinstance(data.get("scheme"), str):
            raise PlanError(f"scheme of {what} must be text, not {data.get('scheme')!r:.40}")
        try:
            ch, rank = check_whole(data.get("ch"), "ch"), data.get("rank")
            return cls(in_channels, out_channels, ch, data["scheme"], rank, str(data.get("reason", "")))
        except PlanError as error:
            raise PlanError(f"{what}: {error}") from error


def plan_low_rank(in_channels: int, out_channels: int, settings: BlockSettings) -> LowRankPlan:
    """A rank of its own, or the one whose weights come nearest to those of the grouped block.

    With ``settings.rank`` the layer is replaced wherever that saves weights. Without it, the layers that the scheme
    would replace at ``settings.ch`` are replaced, each at the rank with the nearest number of weights, at least 1.

    >>> plan_low_rank(1152, 320, BlockSettings(ch=16)).rank, plan_low_rank(1152, 320, BlockSettings(rank=40)).rank
    (7, 40)
    """
    check_channels(in_channels, out_channels)
    ch, scheme = settings.ch, settings.scheme

    def plan(rank: int | None, reason: str) -> LowRankPlan:
        return LowRankPlan(in_channels, out_channels, ch, scheme, rank, reason)

    both, dense = in_channels + out_channels, in_channels * out_channels
    if settings.rank is not None:
        if settings.rank * both >= dense:
            most = (dense - 1) // both
            saving = f"ranks up to {most} do" if most else "no rank does"
            return plan(None, f"rank {settings.rank} saves no weights from {dense:,} ({saving})")
        return plan(settings.rank, "the rank that was asked for")
    like = plan_layer(in_channels, out_channels, ch, scheme)
    if not like.replaces:
        return plan(None, like.reason)
    rank = max(round(like.weights / both), 1)
    if rank * both >= dense:
        return plan(None, f"rank {rank} saves no weights from {dense:,}")
    return plan(rank, f"about the {like.weights:,} weights of {like.short()}")


KIND = BlockKind(
    "low-rank",
    "two pointwise convolutions with few channels between them (Ic -> r -> F)",
    plan_low_rank,
    LowRankPlan,
    setting_keys=("ch", "scheme"),
    layout_keys=("rank",),
)
