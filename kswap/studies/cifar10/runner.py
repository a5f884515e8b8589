"""One case after the other: a network, its training, and a file."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from kswap.converted import Conversion
from kswap.data.picture_set import LabelledPictures
from kswap.progress import ProgressBar
from kswap.studies.choice import Choice
from kswap.studies.cifar10.cases import Case, CaseResult
from kswap.studies.cifar10.data import recipe_of, splits_to_choose
from kswap.studies.cifar10.files import StudyFiles
from kswap.studies.cifar10.methods import find_method
from kswap.studies.cifar10.network import Method
from kswap.studies.cifar10.settings import Settings
from kswap.studies.cifar10.zero_classifier import zero_classifier_
from kswap.studies.files import read, write
from kswap.training.train import train


class Runner:
    """Runs cases, and says what it does."""

    def __init__(self, settings: Settings, files: StudyFiles, bar: ProgressBar) -> None:
        self.settings, self.files, self.bar = settings, files, bar
        self.recipe = recipe_of(settings)

    def run(self, case: Case) -> bool:
        """Train the network and write the file of the case; false where another process does so."""
        method = find_method(case.method)
        with self.files.held(case.name) as work:
            if work is None or self.files.result_of(case).exists():
                return False
            rates = self._rates(method)
            if rates is None:
                return False
            lr, structured_lr = rates
            self.bar.label(f"{method.name} seed {case.seed}")
            began = time.perf_counter()
            network = method.build(self.settings, case.seed)
            built = time.perf_counter() - began
            done = train(
                self._placed(network.conversion),
                self.settings.data,
                recipe=replace(self.recipe, structured_lr=structured_lr),
                lr=lr,
                out=work / "trained",
                split="train",
                test_split="test",
                seed=case.seed,
                amp=self.settings.amp,
            )
            record = done.record
            assert record.tested is not None
            result = CaseResult(
                case=case,
                note=network.note,
                params=record.params,
                macs=network.conversion.report.macs.after,
                lr=lr,
                accuracy=record.tested.top1,
                hflip=record.tested.top1_hflip,
                build_seconds=round(built, 2),
                seconds=record.seconds,
                images=record.images,
                structured_lr=structured_lr,
            )
            write(self.files.result_of(case), result)
            shutil.rmtree(work, ignore_errors=True)
        self.bar.log(
            f"{case.name}: {result.params:,} parameters, {result.accuracy:.2%}, with H-flip {result.hflip:.2%}, "
            f"{result.seconds:,.0f} s"
        )
        return True

    def _placed(self, conversion: Conversion) -> Conversion:
        if self.settings.zero_classifier:
            zero_classifier_(conversion.model)
        conversion.model.to(self.settings.device)
        return conversion

    def _rates(self, method: Method) -> tuple[float, float] | None:
        """The learning rate of a method and the multiple of it for the layers of blocks.

        Both are chosen once, on training pictures; ``None`` while another process does so.
        """
        if not self.settings.learning_rates and not self.settings.structured_rates:
            return self.recipe.lr, self.recipe.structured_lr
        chosen_for = find_method(method.learns_as or method.name)
        path = self.files.choice_of(chosen_for.name)
        if not path.exists():
            with self.files.held(f"learning-rate_{chosen_for.name}") as work:
                if work is None:
                    return None
                if not path.exists():
                    self._choose(chosen_for, path, work)
                shutil.rmtree(work, ignore_errors=True)
        choice = read(path, Choice)
        return choice.lr, choice.structured_lr

    def _choose(self, method: Method, path: Path, work: Path) -> None:
        """First the learning rate of all layers, then that of the layers of blocks."""
        self.bar.label(f"{method.name}: learning rates")
        settings, own, pictures = self.settings, self.recipe.structured_lr, splits_to_choose(self.settings)
        rates = [self.recipe.lr * factor for factor in settings.learning_rates or (1.0,)]
        tried = [self._trial(method, pictures, rate, own, work) for rate in rates]
        lr = max(tried, key=_goodness).lr
        if tried[0].has_blocks:
            factors = [factor for factor in settings.structured_rates if factor != own]
            tried += [self._trial(method, pictures, lr, factor, work) for factor in factors]
        best = max(tried, key=_goodness)
        choice = Choice(
            method.name,
            best.lr,
            tuple(trial.lr for trial in tried),
            tuple(trial.accuracy for trial in tried),
            tuple(trial.loss for trial in tried),
            best.structured_lr,
            tuple(trial.structured_lr for trial in tried),
        )
        write(path, choice)
        shown = ", ".join(f"{trial.accuracy:.2%} with {trial.rates}" for trial in tried)
        self.bar.log(f"{method.name}: learning rate {best.rates} ({shown})")

    def _trial(
        self,
        method: Method,
        pictures: tuple[LabelledPictures, LabelledPictures],
        lr: float,
        structured_lr: float,
        work: Path,
    ) -> _Trial:
        learnt, held_out = pictures
        conversion = method.build(self.settings, 0).conversion
        done = train(
            self._placed(conversion),
            learnt,
            recipe=replace(self.recipe, structured_lr=structured_lr),
            epochs=self.settings.choosing_epochs,
            lr=lr,
            out=work / f"{lr:g}-{structured_lr:g}",
            keep="last",
            eval_data=held_out,
            test_data=held_out,
            amp=self.settings.amp,
        )
        assert done.record.tested is not None
        tested, has_blocks = done.record.tested, bool(conversion.plan.replaced)
        return _Trial(lr, structured_lr, tested.top1, tested.loss, has_blocks)


@dataclass(frozen=True)
class _Trial:
    lr: float
    structured_lr: float
    accuracy: float
    loss: float
    has_blocks: bool

    @property
    def rates(self) -> str:
        """In words."""
        return f"{self.lr:g}" + ("" if self.structured_lr == 1 else f" ({self.structured_lr:g} times that in blocks)")


def _goodness(trial: _Trial) -> tuple[float, float]:
    return trial.accuracy, -trial.loss
