"""A network as an int8 file: quantised after training, and measured before it gets its name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kswap.analysis.evaluation import evaluate_loaded
from kswap.analysis.loaded_model import LoadedModel, logits_of
from kswap.data.opening import Data
from kswap.data.picture_set import PictureSet
from kswap.data.prepared import PreparedPictures
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError, DeployError, KswapError, first_line
from kswap.inference.optimize import optimize_for_inference
from kswap.progress import step
from kswap.quantization.file_model import FileModel
from kswap.quantization.result import Accuracy, KeptInFloat, QuantizedExport, Speed
from kswap.runtimes.export import export_model
from kswap.runtimes.formats import FORMATS
from kswap.runtimes.formats.destination import check_destination, written_whole
from kswap.runtimes.formats.format import Format, Variant
from kswap.runtimes.formats.quantizer import Quantizer
from kswap.runtimes.targets import find_target
from kswap.timing import TimeComparison, interleaved
from kswap.transfer.examined import Examined, examined

# Pictures of the calibration.
IMAGES = 256

# Squeeze-and-excite stays in float32 where that leaves no more than this share of the error: floats cost time.
_WORTH = 0.5

# After so many seconds of timing no further round begins.
_SECONDS = 20.0


def export_int8(
    model: nn.Module,
    batch: int,
    to: str,
    path: str | Path,
    pictures: PictureSet,
    preprocessing: Preprocessing,
    *,
    measured_on: Examined | None = None,
    original: nn.Module | str = "",
    images: int = IMAGES,
    eval_limit: int = 1000,
    dynamic_batch: bool = False,
    params_compact: int | None = None,
    threads: int | None = None,
    force: bool = False,
) -> QuantizedExport:
    """Write a classifier as an int8 file, and measure what that costs and brings; the model is unchanged.

    The float32 file is written first, to a temporary place, and compared with PyTorch. Then weights are quantised per
    channel and activations per tensor, with ranges from the calibration. Squeeze-and-excite branches stay in float32
    where that at least halves the error on the pictures of the calibration; other pictures decide nothing.

    Args:
        model: A module on the CPU that takes images, optimised or not.
        batch: Images at a time.
        to: ``"onnx"``, or ``"openvino"``, which needs the package nncf.
        path: The file.
        pictures: The pictures of the calibration, without those that accuracy is measured on.
        preprocessing: How pictures become inputs: as when the model was trained.
        measured_on: Labelled pictures to measure accuracy on.
        original: The network that the model was converted from, whatever its weights are, for its speed in int8; or
            why it cannot be had.
        images: How many pictures the ranges are taken from, evenly over all.
        eval_limit: How many pictures accuracy is measured on at most, evenly over all.
        dynamic_batch: The file takes any number of images.
        params_compact: As for :func:`kswap.runtimes.export.export_model`.
        threads: Threads of the runtime while times are measured.
        force: Overwrites files that are there.

    Raises:
        KswapError: A subclass; as :func:`kswap.runtimes.export.export_model`, and where pictures cannot be read or the
            model cannot be quantised. Then nothing is written.
    """
    target = check_destination(to, path, force)
    format_ = FORMATS[to]
    format_.check(Variant(dynamic_batch, quantize="int8"))
    step("reading the pictures")
    samples = _samples(pictures, preprocessing, images, batch)
    with written_whole(target) as written, tempfile.TemporaryDirectory(prefix="kswap-int8-") as place:
        job = _Job(format_, Path(place), samples, batch, dynamic_batch)
        step("exporting in float32")
        inputs = samples[:batch]
        exported = export_model(model, inputs, to, job.file("float32"), False, params_compact, dynamic_batch)
        step("quantising")
        wanted = job.outputs_of(exported.path)
        kept = job.quantize(exported.path, wanted, written)
        error, agreement = job.difference(wanted, written)
        accuracy = None
        if measured_on is not None:
            step("measuring accuracy")
            tops = [
                evaluate_loaded(
                    LoadedModel(file, target.name, torch.device("cpu"), preprocessing),
                    measured_on.images,
                    limit=eval_limit,
                    shown=False,
                )
                for file in (FileModel(format_, exported.path, batch), FileModel(format_, written, batch))
            ]
            accuracy = Accuracy(measured_on.title, tops[0].images, tops[0].top1, tops[1].top1)
        speed = job.speed(exported.path, written, () if kept is None else job.squeezes, original, threads)
        size = sum(file.stat().st_size for file in written.parent.iterdir())
    return QuantizedExport(
        exported=replace(exported, path=target),
        bytes=size,
        method=job.quantizer.method,
        calibration=pictures.source + (f", split {pictures.split}" if pictures.split else ""),
        calibration_images=len(samples),
        preprocessing=preprocessing,
        error=error,
        agreement=agreement,
        kept=kept,
        accuracy=accuracy,
        speed=speed,
    )


def held_out(
    model: nn.Module,
    preprocessing: Preprocessing,
    pictures: PictureSet,
    eval_data: Data | None = None,
    eval_split: str | None = None,
) -> Examined | None:
    """The labelled pictures to measure accuracy on: those asked for, else another split of those of the calibration.

    ``None`` where there are none. Raises :class:`KswapError` where those asked for do not fit the model.
    """
    with torch.no_grad():
        classes = logits_of(model.eval()(torch.zeros(1, *preprocessing.input_size))).shape[1]
    found = examined(pictures, eval_data, eval_split, classes)
    asked = eval_data is not None or eval_split is not None
    return found if found is not None and (asked or found.held_out) else None


def _samples(pictures: PictureSet, preprocessing: Preprocessing, images: int, batch: int) -> Tensor:
    """``(N, C, H, W)``: pictures evenly over all, since they are sorted by class; N is a multiple of the batch."""
    count = min(images, len(pictures)) // batch * batch
    if count < 1:
        raise DataError(
            f"{min(images, len(pictures))} pictures are fewer than the {batch} that the file takes at a time: "
            "calibrate with more, or export with a smaller batch"
        )
    return PreparedPictures(pictures, preprocessing).inputs([k * len(pictures) // count for k in range(count)])


@dataclass
class _Job:
    """The files of one run, in a temporary place."""

    format_: Format
    place: Path
    samples: Tensor
    batch: int
    dynamic_batch: bool
    squeezes: Sequence[str] = ()

    @property
    def quantizer(self) -> Quantizer:
        """That of the format, which its check has found."""
        assert self.format_.quantizer is not None
        return self.format_.quantizer

    def file(self, name: str) -> Path:
        """A file in a folder of its own, with all that is written beside it."""
        folder = self.place / name
        folder.mkdir()
        return folder / f"model{self.format_.suffix}"

    def quantize(self, source: Path, wanted: Tensor, written: Path) -> KeptInFloat | None:
        """Write the int8 file of a float32 file, whose outputs are ``wanted``; returns what was left in float32."""
        self._write(source, written, ())
        self.squeezes = self.quantizer.squeezes(source)
        if not self.squeezes:
            return None
        other = self.file("squeezes")
        self._write(source, other, self.squeezes)
        (quantized, _), (kept, _) = self.difference(wanted, written), self.difference(wanted, other)
        if not kept <= _WORTH * quantized:
            return None
        for file in self.format_.files(written):
            shutil.copyfile(other.with_suffix(file.suffix), file)
        return KeptInFloat(len(self.squeezes), quantized, kept)

    def _write(self, source: Path, path: Path, kept: Sequence[str]) -> None:
        batches = torch.split(self.samples, self.batch)
        try:
            self.quantizer.quantize(source, batches, path, kept)
            found = FileModel(self.format_, path, self.batch)(batches[0])
        except Exception as error:
            said = f"{type(error).__name__}: {first_line(error)}"
            raise DeployError(
                f"{self.quantizer.method} cannot quantise this network ({said}): nothing was written; "
                "export it without int8"
            ) from error
        if not bool(found.isfinite().all()):
            raise DeployError("the int8 file returns numbers that are not finite: nothing was written")

    def outputs_of(self, path: Path) -> Tensor:
        """What a file returns for the pictures of the calibration, in float64."""
        outputs: Tensor = FileModel(self.format_, path, self.batch)(self.samples)
        return outputs.double()

    def difference(self, wanted: Tensor, path: Path) -> tuple[float, float]:
        """Relative mean squared error of the outputs, and the share of equal answers, on the calibration."""
        found = self.outputs_of(path)
        square = wanted.square().mean().clamp_min(torch.finfo(torch.float32).tiny)
        equal = wanted.flatten(1).argmax(1) == found.flatten(1).argmax(1)
        return float((wanted - found).square().mean() / square), float(equal.double().mean())

    def speed(
        self, source: Path, written: Path, kept: Sequence[str], original: nn.Module | str, threads: int | None
    ) -> Speed:
        """Time the int8 file against the float32 one, the original's, and one with float32 in small groups."""
        others = {"float32": source}
        no_original = original if isinstance(original, str) else ""
        if isinstance(original, nn.Module):
            step("quantising the original")
            try:
                others["original"] = self._quantized_original(original, bool(kept))
            except KswapError as error:
                no_original = str(error)
        grouped = self.quantizer.grouped(source)
        if grouped:
            step("quantising all but small groups")
            others["groups"] = self.file("groups")
            self._write(source, others["groups"], [*kept, *grouped])
        step("timing")
        found = self._compared(written, others, threads)
        return Speed(
            original=found.get("original"),
            no_original=no_original,
            float32=found["float32"],
            grouped=tuple(grouped.values()),
            groups_in_float32=found.get("groups"),
        )

    def _quantized_original(self, original: nn.Module, keeps_squeezes: bool) -> Path:
        """The int8 file of the original, made in the same way."""
        inputs = (self.samples[: self.batch],)
        plain = optimize_for_inference(original, inputs, self.format_.target, autotune=False)
        whole = self.file("original-float32")
        export_model(plain, inputs, self.format_.name, whole, dynamic_batch=self.dynamic_batch)
        path = self.file("original")
        self._write(whole, path, self.quantizer.squeezes(whole) if keeps_squeezes else ())
        return path

    def _compared(self, written: Path, others: Mapping[str, Path], threads: int | None) -> dict[str, TimeComparison]:
        """Each of the others, prepared twice, against the int8 file."""
        prepare, inputs = self.quantizer.prepare, (self.samples[: self.batch],)
        with find_target(self.format_.target).settings(threads):
            runs: dict[str, Any] = {"int8": prepare(written, inputs, threads)}
            for name, path in others.items():
                runs |= {name: prepare(path, inputs, threads), f"{name} again": prepare(path, inputs, threads)}
            times = interleaved(runs, seconds=_SECONDS)
        return {name: TimeComparison.of(times[name], times["int8"], times[f"{name} again"]) for name in others}
