"""Examples at the end of each command's help, for commands whose help has none in its text."""

from __future__ import annotations

EXAMPLES = {
    "convert": (
        "kswap convert efficientnet_b0 --ch 16 --num-classes 10",
        "kswap convert resnet50 --pretrained --out small --fail-if 'params.ratio > 0.5'",
    ),
    "plan": (
        "kswap plan mobilenetv3_large_100 --ch 32",
        "kswap plan efficientnet_b0 --rules no-second-layer --save plan.json",
    ),
    "report": ("kswap report small", "kswap report small --format csv"),
    "diff": ("kswap diff small smaller", "kswap diff last.json small --format md --fail-if 'params.delta > 10K'"),
    "create": ("kswap create", "kswap create kmobilenet-v3-large --ch 16 --num-classes 10 --out small"),
    "papers": ("kswap papers", "kswap papers 'Table 5' --format md"),
    "import-keras": ("kswap import-keras best_model.hdf5 --recipe kmobilenet-v1 --num-classes 10 --out small",),
    "optimize": ("kswap optimize small", "kswap optimize small --target onnxruntime --batch 8"),
    "models": ("kswap models 'efficientnet*' --sort share",),
    "rules": ("kswap rules", "kswap rules keffnet-v2"),
    "export": ("kswap export small --to onnx --out small.onnx",),
    "sweep": ("kswap sweep 'resnet*' --out sweep.csv",),
    "profile": ("kswap profile efficientnet_b0",),
}


def epilog_of(command: str) -> str | None:
    """The examples of a command as click prints them; ``None`` where its help has some already."""
    lines = EXAMPLES.get(command)
    return None if lines is None else "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))
