"""The base class of all blocks that take the place of a pointwise layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from kswap.nn.init import glorot_, reset_norm_
from kswap.nn.norms_and_activations import is_norm
from kswap.nn.pointwise import stride_of
from kswap.planner.block_plan import BlockPlan

# What a parameter of a block stands for: a parameter of the replaced layer, or of the norm or activation that the
# block took in.
LAYER, NORM, ACTIVATION = "layer", "norm", "activation"


@dataclass(frozen=True)
class Stage:
    """One linear map of a block, and what follows it inside the block.

    ``layer`` maps channels to channels and is linear plus a bias: :func:`kswap.nn.affine.affine_of` returns its
    matrix. ``norm`` and ``activation`` are ``None`` where the block holds none.
    """

    name: str
    layer: nn.Module
    norm: nn.Module | None = None
    activation: nn.Module | None = None


class PointwiseBlock(nn.Module, ABC):
    """A module in the place of one pointwise layer, with the sizes of that layer as attributes.

    The attributes are ``in_channels`` to ``groups`` of a convolution, or ``in_features`` and ``out_features`` of a
    linear layer. A kind of block derives from this class, defines :attr:`layers`, :attr:`stages` and
    :meth:`part_of`, and is found by :func:`kswap.nn.kinds.build_block`.
    """

    # TorchScript compiles properties unless they are named here.
    __jit_unused_properties__: ClassVar = ["layers", "stages", "grouped_layers", "weight", "bias", "can_fuse"]

    if TYPE_CHECKING:  # TorchScript would read the annotation as a text and fail
        plan: BlockPlan

    def __init__(
        self,
        plan: BlockPlan,
        replaces: nn.Module | None = None,
        norm: nn.Module | None = None,
        activation: nn.Module | None = None,
    ) -> None:
        """Take the sizes from ``plan`` and ``replaces``.

        Raises :class:`ValueError` for a plan that keeps the layer, and for a norm or activation where blocks of this
        kind take in none.
        """
        super().__init__()
        plan.check_replaces()
        if not plan.absorbs and (norm is not None or activation is not None):
            raise ValueError(f"a block of the kind {plan.kind} takes in no norm or activation")
        self.plan = plan
        self.in_channels = plan.in_channels
        self.out_channels = plan.out_channels
        self.stride = stride_of(self.like(replaces))
        if self.stride:
            dims = len(self.stride)
            self.kernel_size, self.padding, self.dilation = (1,) * dims, (0,) * dims, (1,) * dims
            self.groups = 1
        else:
            self.in_features, self.out_features = plan.in_channels, plan.out_channels

    @staticmethod
    def like(replaces: nn.Module | None) -> nn.Module:
        """The layer that new layers are made like: ``replaces``, or a ``Conv2d`` without bias."""
        return nn.Conv2d(1, 1, 1, bias=False) if replaces is None else replaces

    @property
    @abstractmethod
    def layers(self) -> tuple[nn.Module, ...]:
        """The convolutions or linear layers of the block, in the order in which they compute."""

    @property
    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The linear maps of the block in order, each with the norm and activation that follow it."""

    @abstractmethod
    def part_of(self, name: str) -> tuple[str, str]:
        """What the parameter ``name`` of the block stands for, so that an optimizer can follow.

        Returns one of ``"layer"``, ``"norm"`` and ``"activation"``, and the name of the parameter there.
        """

    def reset_parameters(self) -> None:
        """Draw fresh weights in place, as in the papers: Glorot for the layers, zero biases, norms as constructed.

        Uses torch's global generator of the CPU.
        """
        for layer in self.layers:
            glorot_(layer)
        for module in self.modules():
            if is_norm(module):
                reset_norm_(module)

    @property
    def weight(self) -> Tensor:
        """The weight of the first layer, for models that ask a layer for its device or dtype."""
        weight = self.layers[0].weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def bias(self) -> Tensor | None:
        """The first bias, for models that ask whether a layer has one."""
        biases = (layer.bias for layer in self.layers)
        return next((bias for bias in biases if isinstance(bias, Tensor)), None)

    def extra_repr(self) -> str:
        stride = f", stride={self.stride}" if self.stride else ""
        return f"{self.in_channels}, {self.out_channels}, {self.plan.short()}{stride}"


class Absorbed(nn.Identity):
    """Stands where a norm or activation was that a block has taken in; passes its input through."""

    def __init__(self, into: str) -> None:
        super().__init__()
        self.into = into

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            raise AttributeError(
                f"'{name}' of a norm or activation that the block '{self.__dict__.get('into')}' has taken in: fuse or "
                "reparameterize a model before kswap converts it, or use kswap.optimize_for_inference on the "
                "converted one"
            ) from None

    def extra_repr(self) -> str:
        return f"into {self.into}"
