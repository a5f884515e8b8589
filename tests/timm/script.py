"""A training script that knows timm and nothing of kswap, put together as timm's own ``train.py`` is.

Two steps an epoch; with ``--resume`` it goes on where a checkpoint was written.
"""

import argparse

import torch
from timm.data import Mixup, create_dataset, create_loader, resolve_data_config
from timm.loss import SoftTargetCrossEntropy
from timm.models import create_model, model_parameters, resume_checkpoint
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from timm.utils import AverageMeter, CheckpointSaver, ModelEmaV3, accuracy, dispatch_clip_grad, random_seed

parser = argparse.ArgumentParser()
parser.add_argument("--data-dir")
parser.add_argument("--output")
parser.add_argument("--model")
parser.add_argument("--resume", default="")
parser.add_argument("--num-classes", type=int, default=3)
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--drop", type=float, default=0.1)
parser.add_argument("--opt", default="adamw")
parser.add_argument("--lr", type=float, default=1e-2)
parser.add_argument("--weight-decay", type=float, default=0.05)
parser.add_argument("--momentum", type=float, default=0.9)
parser.add_argument("--layer-decay", type=float, default=0.9)
parser.add_argument("--sched", default="cosine")
parser.add_argument("--input-size", nargs=3, type=int, default=(3, 32, 32))


@torch.no_grad()
def validate(model: torch.nn.Module, loader: torch.utils.data.DataLoader) -> float:
    meter = AverageMeter()
    model.eval()
    for pictures, labels in loader:
        (top1,) = accuracy(model(pictures), labels, topk=(1,))
        meter.update(top1.item(), len(labels))
    return meter.avg


def main() -> None:
    args = parser.parse_args()
    random_seed(0, 0)
    model = create_model(args.model, num_classes=args.num_classes, drop_rate=args.drop, drop_path_rate=None, in_chans=3)
    data_config = resolve_data_config(vars(args), model=model)
    assert data_config["input_size"] == args.input_size
    optimizer = create_optimizer_v2(model, **optimizer_kwargs(cfg=args))
    model_ema = ModelEmaV3(model, decay=0.9)
    start = 0
    if args.resume:
        start = resume_checkpoint(model, args.resume, optimizer=optimizer)
        resume_checkpoint(model_ema.module, args.resume)
    loaders = {
        split: create_loader(
            create_dataset("", root=args.data_dir, split=split, is_training=split == "train"),
            input_size=data_config["input_size"],
            batch_size=2,
            is_training=split == "train",
            use_prefetcher=False,
            mean=data_config["mean"],
            std=data_config["std"],
            num_workers=0,
            persistent_workers=False,
            device=torch.device("cpu"),
        )
        for split in ("train", "validation")
    }
    loader = loaders["train"]
    mixup = Mixup(mixup_alpha=0.2, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=args.num_classes)
    scheduler, epochs = create_scheduler_v2(optimizer, **scheduler_kwargs(args), updates_per_epoch=len(loader))
    scheduler.step(start)
    saver = CheckpointSaver(
        model=model, optimizer=optimizer, args=args, model_ema=model_ema, checkpoint_dir=args.output, max_history=2
    )
    for epoch in range(start, epochs):
        model.train()
        for step, (pictures, labels) in zip(range(2), loader, strict=False):
            pictures, labels = mixup(pictures, labels)
            with torch.autocast("cpu", torch.bfloat16):
                loss = SoftTargetCrossEntropy()(model(pictures), labels)
            optimizer.zero_grad()
            loss.backward()
            dispatch_clip_grad(model_parameters(model, exclude_head=False), 1.0)
            optimizer.step()
            model_ema.update(model, step=step)
        top1 = validate(model_ema.module, loaders["validation"])
        saver.save_checkpoint(epoch, metric=top1)
        scheduler.step(epoch + 1)
        print(f"epoch {epoch} loss {loss.item():.3f} top-1 {top1:.1f}")


if __name__ == "__main__":
    main()
