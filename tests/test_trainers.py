"""Trainers that people have: a converted model trains in them, and their checkpoints become a saved directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import kswap

PICTURES = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 3


def converted(seed: int) -> kswap.Conversion:
    return kswap.convert("test_resnet", ch=8, num_classes=3, input_size=(32, 32), device="cpu", seed=seed)


class Classifier(lightning.LightningModule):
    def __init__(self, model: nn.Module, lr: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="model")
        self.model = model

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        return F.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams["lr"])


def by_lightning(model: nn.Module, directory: Path) -> Path:
    trainer = lightning.Trainer(
        default_root_dir=directory,
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches: Any = [(PICTURES[:4], LABELS[:4]), (PICTURES[4:], LABELS[4:])]
    trainer.fit(Classifier(model), DataLoader(batches, batch_size=None))
    return next(directory.rglob("*.ckpt"))


class WithLoss(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.model(pixel_values)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def by_trainer(model: nn.Module, directory: Path) -> Path:
    arguments = transformers.TrainingArguments(
        str(directory), max_steps=2, per_device_train_batch_size=4, use_cpu=True, report_to="none", disable_tqdm=True
    )
    items: Any = [{"pixel_values": picture, "labels": label} for picture, label in zip(PICTURES, LABELS, strict=True)]
    transformers.Trainer(WithLoss(model), arguments, train_dataset=items).train()
    return directory / "checkpoint-2" / "model.safetensors"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("train", [by_lightning, by_trainer])
def test_a_checkpoint_becomes_a_directory(train: Callable[[nn.Module, Path], Path], tmp_path: Path) -> None:
    conversion = converted(seed=1)
    fresh = conversion.model.state_dict()["fc.weight"].clone()
    checkpoint = train(conversion.model, tmp_path / "run")
    model = conversion.model.eval()
    assert not torch.equal(model.state_dict()["fc.weight"], fresh)
    other = converted(seed=2).with_weights(checkpoint)
    loaded = kswap.load(other.save(tmp_path / "saved"))
    assert torch.equal(loaded.model(PICTURES), model(PICTURES))


@pytest.mark.filterwarnings("ignore")
def test_a_model_of_transformers_goes_on_in_its_trainer(tmp_path: Path) -> None:
    """Its checkpoints cannot be read by ``from_pretrained``, but by the conversion."""
    torch.manual_seed(0)
    config = transformers.ResNetConfig(embedding_size=32, hidden_sizes=[64, 128], depths=[1, 1], num_labels=3)
    original = transformers.ResNetForImageClassification(config)
    inputs = {"pixel_values": PICTURES}
    conversion = kswap.convert(original, ch=8, example_input=inputs, seed=0)
    arguments = transformers.TrainingArguments(
        str(tmp_path / "run"), max_steps=2, use_cpu=True, report_to="none", disable_tqdm=True
    )
    items: Any = [{"pixel_values": picture, "labels": label} for picture, label in zip(PICTURES, LABELS, strict=True)]
    transformers.Trainer(conversion.model, arguments, train_dataset=items).train()
    other = kswap.convert(original, ch=8, example_input=inputs, seed=1).with_weights(
        tmp_path / "run" / "checkpoint-2" / "model.safetensors"
    )
    loaded = kswap.load(other.save(tmp_path / "saved"), model=original)
    assert torch.equal(loaded.model(**inputs).logits, conversion.model.eval()(**inputs).logits)
