"""A name becomes a model: timm, torchvision, ``papers/NAME``, ``package.module:factory``, ``file.py:factory``."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.errors import ModelError, SavedError, nearest

if TYPE_CHECKING:
    from torch import nn

_DROPS = ("DropPath", "Dropout", "Dropout2d")

KINDS = ("timm", "torchvision", "papers", "import", "file", "module")

# Keyword arguments that make a builder fetch or unpickle something: neither saved nor taken from a directory.
_UNSAFE = {
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
    "weights",
    "weights_backbone",
}


@dataclass(frozen=True)
class Source:
    """Where a model comes from, so that it can be built again.

    ``kind`` is one of :data:`KINDS`; ``kwargs`` are the arguments of its builder as JSON values. A model
    that was passed as a module and that kswap cannot build again has the kind ``"module"`` and its class as
    the name. ``drops`` are dropout and drop-path layers by qualified name, with their probabilities, that the
    builder does not make by itself.
    """

    kind: str
    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    drops: Mapping[str, tuple[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ModelError(f"unknown kind of model '{self.kind}': known are {', '.join(KINDS)}")
        for name, (kind, rate) in self.drops.items():
            if kind not in _DROPS or not 0 <= rate <= 1:
                raise ModelError(f"'{name}' cannot be a {kind!r} of probability {rate!r}")

    @property
    def title(self) -> str:
        """The name as the user wrote it; of a module its class."""
        if self.kind == "module":
            return self.name.rpartition(".")[2]
        return f"{self.kind}/{self.name}" if self.kind in ("torchvision", "papers") else self.name

    @property
    def needs_trust(self) -> bool:
        """Whether building it runs code that neither timm nor torchvision brings, or fetches something."""
        return self.kind in ("import", "file") or ":" in self.name

    def to_json(self) -> dict[str, Any]:
        try:
            safe = {key: value for key, value in self.kwargs.items() if key not in _UNSAFE}
            kwargs = json.loads(json.dumps(safe, allow_nan=False))
        except (TypeError, ValueError):
            raise SavedError(
                f"the arguments that built {self.title} cannot be written as JSON: pass numbers, texts and lists, "
                f"or build the model yourself and load with kswap.load(directory, model=...)"
            ) from None
        drops = {name: list(drop) for name, drop in self.drops.items()}
        return {"kind": self.kind, "name": self.name, "kwargs": kwargs, "drops": drops}

    @classmethod
    def from_json(cls, data: Any) -> Source:
        """Read what :meth:`to_json` wrote, from a directory that may come from a stranger."""
        if not isinstance(data, dict) or not isinstance(data.get("kwargs", {}), dict):
            raise SavedError("the saved plan names no source of its model")
        kind, name, kwargs = data.get("kind"), data.get("name"), data.get("kwargs", {})
        if kind not in KINDS or not isinstance(name, str):
            raise SavedError(f"the saved plan names an unknown source: {kind!r}")
        unsafe = sorted(_UNSAFE & set(kwargs))
        if unsafe:
            raise SavedError(f"the saved plan sets {', '.join(unsafe)}, which a saved directory must not do")
        try:
            drops = {str(key): (str(layer), float(rate)) for key, (layer, rate) in data.get("drops", {}).items()}
            return cls(kind, name, kwargs, drops)
        except (TypeError, ValueError, AttributeError, ModelError) as error:
            raise SavedError(f"the dropout layers of the saved plan cannot be read: {error}") from error

    def build(self, pretrained: bool = False, meta: bool = False) -> nn.Module:
        """Build the model, in training mode, on the CPU, or without weights on the meta device.

        Raises :class:`ModelError` when it cannot be found or built.
        """
        builder = _BUILDERS.get(self.kind)
        if builder is None:
            raise ModelError(f"a {self.name} that was passed as a module cannot be built again by name")
        model = _built_on_meta(builder, self) if meta else builder(self, pretrained)
        for name, (layer, rate) in self.drops.items():
            _set_drop(model, name, layer, rate)
        return model


def _built_on_meta(builder: Callable[[Source, bool], nn.Module], source: Source) -> nn.Module:
    """A model on the meta device. Where its builder computes with tensors (torchvision's RegNet), it is built
    with its weights first."""
    import torch

    try:
        with torch.device("meta"):
            return builder(source, False)
    except ModelError:
        return builder(source, False).to("meta")


def parse_source(name: str, kwargs: Mapping[str, Any] | None = None) -> Source:
    """The source that a MODEL argument names. Does not build anything and imports no torch.

    >>> parse_source("torchvision/resnet50").kind, parse_source("my_models.py:tiny").kind
    ('torchvision', 'file')
    >>> parse_source("package.module:factory").kind, parse_source("efficientnet_b0").kind
    ('import', 'timm')
    """
    kwargs = dict(kwargs or {})
    if not name:
        raise ModelError("the model has no name: give a timm name such as efficientnet_b0")
    for kind in ("torchvision", "papers"):
        if name.startswith(f"{kind}/"):
            return Source(kind, name.removeprefix(f"{kind}/"), kwargs)
    if name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        return Source("timm", name, kwargs)
    path, colon, factory = name.rpartition(":")
    if colon and path.endswith(".py"):
        return Source("file", name, kwargs)
    if colon:
        if not factory.isidentifier():
            raise ModelError(f"'{name}' names no factory: write package.module:factory or file.py:factory")
        return Source("import", name, kwargs)
    if name.endswith(".py"):
        raise ModelError(f"'{name}' names no factory: write {name}:factory, where factory() gives the model")
    return Source("timm", name, kwargs)


@contextlib.contextmanager
def _quick_when_offline() -> Iterator[None]:
    """Let the hub's client use its cache at once where its host cannot be reached, instead of retrying."""
    import socket
    import urllib.parse
    import urllib.request

    from huggingface_hub import constants

    host = urllib.parse.urlsplit(constants.ENDPOINT)
    reachable = bool(urllib.request.getproxies())
    if not reachable:
        with contextlib.suppress(OSError):
            socket.create_connection((host.hostname or "", host.port or 443), timeout=5).close()
            reachable = True
    was = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = was or not reachable
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was


def _is_offline(error: BaseException) -> bool:
    """Whether an exception, or one behind it, says that the hub cannot be reached."""
    words = (
        "offline",
        "connect",
        "resolve",
        "urlerror",
        "unreachable",
        "localentrynotfound",
        "timeout",
        "timed out",
        "proxy",
    )
    seen: BaseException | None = error
    while seen is not None:
        text = f"{type(seen).__name__} {seen}".lower()
        if any(word in text for word in words):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _call(build: Callable[[], Any], title: str, pretrained: bool) -> nn.Module:
    """Run a builder; whatever it raises becomes one sentence."""
    from torch import nn

    try:
        with _quick_when_offline() if pretrained else contextlib.nullcontext():
            model = build()
    except ModelError:
        raise
    except Exception as error:
        if (pretrained or ":" in title) and _is_offline(error):
            raise ModelError(
                f"{title} cannot be fetched without a connection: "
                f"go online, or leave out --pretrained to start from fresh weights"
            ) from error
        if pretrained and "pretrained weights" in str(error).lower():
            raise ModelError(f"{title} has no pretrained weights: leave out --pretrained, or choose a tag") from error
        raise ModelError(f"{title} cannot be built: {type(error).__name__}: {_first_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{title} gave a {type(model).__name__}, not a torch.nn.Module")
    return model


def _build_timm(source: Source, pretrained: bool) -> nn.Module:
    import timm

    name = source.name
    if ":" not in name:
        bare, _, tag = name.partition(".")
        if not timm.is_model(bare):
            hint = nearest(bare, timm.list_models()) or "; `kswap models` lists those of timm"
            path = f" (there is no directory {name} either)" if "/" in name else ""
            raise ModelError(f"unknown model '{name}'{path}{hint}")
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{bare}.*")]
        if tag and tag not in tags:
            raise ModelError(f"{bare} has no pretrained tag '{tag}'{nearest(tag, tags) or f': known are {tags}'}")
    return _call(lambda: timm.create_model(name, pretrained=pretrained, **source.kwargs), name, pretrained)


def _build_torchvision(source: Source, pretrained: bool) -> nn.Module:
    try:
        from torchvision import models
    except ImportError as error:
        raise ModelError("torchvision is not installed: `pip install torchvision`") from error

    known = models.list_models()
    if source.name not in known:
        hint = nearest(source.name, known) or "; torchvision.models.list_models() lists its models"
        raise ModelError(f"unknown model 'torchvision/{source.name}'{hint}")
    kwargs = dict(source.kwargs)
    builder = models.get_model_builder(source.name)
    if "weights_backbone" in inspect.signature(builder).parameters:
        kwargs.setdefault("weights_backbone", None)
    weights = "DEFAULT" if pretrained else None
    return _call(lambda: models.get_model(source.name, weights=weights, **kwargs), source.title, pretrained)


def _build_papers(source: Source, pretrained: bool) -> nn.Module:
    from kswap.papers import builder

    return _call_factory(builder(source.name), source, pretrained)


def _factory_of(module: Any, name: str, title: str) -> Callable[..., Any]:
    factory = getattr(module, name, None)
    if not callable(factory):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ModelError(f"{title} has no factory '{name}'{nearest(name, known)}")
    return factory  # type: ignore[no-any-return]


def _call_factory(factory: Callable[..., Any], source: Source, pretrained: bool) -> nn.Module:
    kwargs = dict(source.kwargs)
    parameters = inspect.signature(factory).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    unknown = [key for key in kwargs if key not in parameters and not takes_any]
    if unknown:
        raise ModelError(f"{source.title} does not take {', '.join(unknown)}: leave it out")
    if pretrained:
        if "pretrained" not in parameters and not takes_any:
            raise ModelError(f"{source.title} does not take pretrained: leave out --pretrained")
        kwargs["pretrained"] = True
    return _call(lambda: factory(**kwargs), source.title, pretrained)


def _build_import(source: Source, pretrained: bool) -> nn.Module:
    module_name, _, factory_name = source.name.rpartition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ModelError(f"'{source.name}' cannot be imported: {_first_line(error)}") from error
    except Exception as error:
        message = f"importing {module_name} failed: {type(error).__name__}: {_first_line(error)}"
        raise ModelError(message) from error
    return _call_factory(_factory_of(module, factory_name, module_name), source, pretrained)


def _build_file(source: Source, pretrained: bool) -> nn.Module:
    path_text, _, factory_name = source.name.rpartition(":")
    path = Path(path_text).expanduser()
    if not path.is_file():
        raise ModelError(f"there is no file {path}")
    name = f"kswap_source_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ModelError(f"{path} cannot be imported: {type(error).__name__}: {_first_line(error)}") from error
    return _call_factory(_factory_of(module, factory_name, str(path)), source, pretrained)


_BUILDERS: dict[str, Callable[[Source, bool], nn.Module]] = {
    "timm": _build_timm,
    "torchvision": _build_torchvision,
    "papers": _build_papers,
    "import": _build_import,
    "file": _build_file,
}


def input_size_of(model: nn.Module, source: Source | None = None) -> tuple[int, ...]:
    """Channels, height and width that ``model`` expects, as far as that can be known; else (C, 224, 224)."""
    from torch import nn

    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    size = config.get("input_size") if isinstance(config, Mapping) else None
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    channels = first.in_channels if first is not None and first.groups == 1 else 3
    if not size or len(size) != 3:
        return (channels, 224, 224)
    wanted = source.kwargs.get("in_chans") if source else None
    return (int(wanted or size[0]), int(size[1]), int(size[2]))


def _set_drop(model: nn.Module, name: str, kind: str, rate: float) -> None:
    from timm.layers import DropPath
    from torch import nn

    made: nn.Module = DropPath(rate) if kind == "DropPath" else getattr(nn, kind)(rate)
    try:
        model.get_submodule(name)
    except AttributeError:
        raise ModelError(f"the model has no module '{name}' to be a {kind}") from None
    model.set_submodule(name, made)


def _drops_of(model: nn.Module) -> dict[str, tuple[str, float]]:
    """Dropout and drop-path layers by name, with their probabilities."""
    drops = {}
    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind in _DROPS:
            rate = getattr(module, "drop_prob", None) if kind == "DropPath" else getattr(module, "p", None)
            drops[name] = (kind, float(rate or 0.0))
    return drops


def source_of_module(model: nn.Module) -> Source:
    """The timm source of a model that timm built, where that is certain; else one of kind ``"module"``.

    Certain means: built again from the name in its ``pretrained_cfg``, without weights, it has the same
    modules and the same state, once dropout and drop-path are set as they are in ``model``.
    """
    config = getattr(model, "pretrained_cfg", None)
    name = config.get("architecture") if isinstance(config, Mapping) else None
    unknown = Source("module", f"{type(model).__module__}.{type(model).__qualname__}")
    if not isinstance(name, str):
        return unknown
    kwargs: dict[str, Any] = {}
    classes = getattr(model, "num_classes", None)
    if isinstance(classes, int):
        kwargs["num_classes"] = classes
    if getattr(model, "drop_rate", None):
        kwargs["drop_rate"] = model.drop_rate
    try:
        plain = Source("timm", name, kwargs)
        own = _drops_of(plain.build(meta=True))
        drops = {layer: drop for layer, drop in _drops_of(model).items() if own.get(layer) != drop}
        candidate = Source("timm", name, kwargs, drops)
        again = candidate.build(meta=True)
    except ModelError:
        return unknown
    same = repr(again) == repr(model) and structure_hash(again) == structure_hash(model)
    return candidate if same else unknown


def structure_hash(model: nn.Module) -> str:
    """SHA-256 over names, shapes and types of a model's state: the same for the same architecture."""
    lines = [f"{key} {tuple(value.shape)} {value.dtype}" for key, value in sorted(model.state_dict().items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
