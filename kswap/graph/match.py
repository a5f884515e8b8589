"""Finding the sites: every pointwise layer, what follows it, and why it may have to stay."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, fx, nn

from kswap.graph.attention import attention_roles
from kswap.graph.conv_norm_act import Chains
from kswap.graph.observe import ModuleRecord, Observation
from kswap.nn.pointwise import (
    channels_of,
    fewest_inputs,
    filter_params,
    kind_of,
    stride_of,
    why_not_replaced,
)
from kswap.planner.sites import CONVOLUTIONS, AbsorbedLayer, Site


def declared_classifiers(model: nn.Module) -> frozenset[str] | None:
    """Names of the classifier modules that a timm model declares, or ``None`` for other models."""
    getter = getattr(model, "get_classifier", None)
    if not callable(getter):
        return None
    declared = getter()
    heads = declared if isinstance(declared, list | tuple) else [declared]
    ids = {id(part) for head in heads if isinstance(head, nn.Module) for part in head.modules()}
    return frozenset(name for name, module in model.named_modules() if id(module) in ids)


def _mixes_channels(module: nn.Module) -> bool:
    """Whether ``module`` is a linear layer, or a convolution that is not depthwise."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.groups < module.in_channels or module.in_channels == 1
    return kind_of(module) is not None


# Layers of torchvision's detectors that make scores, boxes and masks.
_PREDICTORS = ("cls_logits", "bbox_pred", "bbox_reg", "bbox_ctrness", "mask_fcn_logits", "kps_score_lowres")


def _predictions(model: nn.Module) -> frozenset[str]:
    """The layers of a torchvision detector that make its scores, boxes and masks."""
    found = set()
    for name, module in model.named_modules():
        if not type(module).__module__.startswith("torchvision.models.detection."):
            continue
        found |= {f"{name}.{child}" for child, _ in module.named_children() if child in _PREDICTORS}
        scoring = getattr(module, "module_list", None)  # SSD: one head for each map, its last layer predicts
        if isinstance(scoring, nn.ModuleList):
            lasts = [[key for key, _ in head.named_modules()][-1] for head in scoring]
            found |= {f"{name}.module_list.{i}.{last}".rstrip(".") for i, last in enumerate(lasts)}
    return frozenset(found)


class _Places:
    """What is special about the place of a layer in its model, whatever the layer."""

    def __init__(self, model: nn.Module, recorded: Chains) -> None:
        declared = declared_classifiers(model)
        self.recorded = recorded
        self.classifiers = recorded.classifiers() if declared is None else declared
        self.why_classifier = "the classifier is never replaced"
        if declared is None:
            self.why_classifier = "it makes the model's output: the classifier is never replaced"
        modules = recorded.modules
        layers = {name for name, m in modules.items() if _mixes_channels(m)}
        self.predictions = _predictions(model)
        self.attention = attention_roles(
            recorded.graph,
            layers,
            softmaxes={name for name, m in modules.items() if isinstance(m, nn.Softmax)},
        )
        self.holders: dict[int, list[str]] = {}
        for name, module in modules.items():
            for parameter in module._parameters.values():
                if parameter is not None:
                    self.holders.setdefault(id(parameter), []).append(name)

    def keep_reason(self, name: str, module: nn.Module, record: ModuleRecord) -> str | None:
        """Why the layer must stay, in any case."""
        parent = self.recorded.modules.get(name.rpartition(".")[0])
        others = {other for p in module.parameters(recurse=False) for other in self.holders[id(p)]} - {name}
        if name in self.classifiers:
            return self.why_classifier
        if name in self.predictions:
            return "it makes a detector's predictions: such a classifier is never replaced"
        if others:
            return f"its weight is tied to that of {', '.join(sorted(others))}"
        if name in self.recorded.observation.read_elsewhere:
            return "its weight is read elsewhere in the model"
        if isinstance(parent, nn.TransformerEncoderLayer):
            return "its weight is read elsewhere: by the fast path of torch's TransformerEncoderLayer"
        if record.calls == 0:
            return "not called in the forward pass"
        return why_not_replaced(module, record.in_shape)

    def opt_in_reason(self, name: str, module: nn.Module) -> str | None:
        """Why a linear layer stays unless a rule names it."""
        if kind_of(module) != "linear":
            return None
        role = self.attention.get(name)
        if role == "fused-qkv":
            return "fused qkv: one layer makes several of queries, keys and values; a rule can ask for it"
        if role == "attention":
            return "attention projection; a rule can ask for it"
        if self.recorded.reads_input(name):
            return "it embeds the model's input; a rule can ask for it"
        return None

    def role(self, name: str, module: nn.Module, record: ModuleRecord, activation: AbsorbedLayer | None) -> str:
        """One of :data:`kswap.planner.sites.ROLES`."""
        in_channels, out_channels = channels_of(module)
        if name in self.classifiers or name in self.predictions:
            return "classifier"
        if kind_of(module) == "linear" and name in self.attention:
            return self.attention[name]
        if record.calls > 0 and self.recorded.gates(name):
            return "squeeze-excite"
        if out_channels > in_channels:
            return "expansion"
        return "pointwise" if activation else "projection"


def find_sites(
    model: nn.Module, graph: fx.Graph | None, observation: Observation, kinds: Collection[str] = CONVOLUTIONS
) -> tuple[Site, ...]:
    """All pointwise layers of these ``kinds`` in ``model``, in the order of its modules.

    ``graph`` is the torch.fx graph, or ``None`` where there is none; what it does not show (inside modules
    that fx does not look into) is followed in the graph that ``observation`` recorded.
    """
    recorded = Chains(model, observation.graph, observation)
    traced = Chains(model, graph, observation) if graph is not None else recorded
    places = _Places(model, recorded)
    sites = []
    for name, module in model.named_modules():
        if kind_of(module) not in kinds:
            continue
        in_channels, out_channels = channels_of(module)
        weight = module.weight
        assert isinstance(weight, Tensor)
        record = observation.records.get(name, ModuleRecord())
        keep_reason = places.keep_reason(name, module, record)
        norm = activation = chain_break = None
        if keep_reason is None:
            chains = traced if name in traced.nodes else recorded
            if record.calls > 1 or chains.calls[name] > 1:
                chain_break = f"called {max(record.calls, chains.calls[name])} times"
            elif name in chains.nodes:
                norm, activation, chain_break = chains.follow(name)
        sites.append(
            Site(
                name=name,
                in_channels=in_channels,
                out_channels=out_channels,
                stride=max(stride_of(module), default=1),
                bias=module.bias is not None,
                trainable=weight.requires_grad,
                type=type(module).__name__,
                role=places.role(name, module, record, activation),
                positions=record.outputs // out_channels,
                calls=record.calls,
                norm=norm,
                activation=activation,
                keep_reason=keep_reason,
                chain_break=chain_break,
                filter_params=filter_params(module),
                fewest_inputs=fewest_inputs(module),
                opt_in_reason=places.opt_in_reason(name, module) if keep_reason is None else None,
            )
        )
    return tuple(sites)
