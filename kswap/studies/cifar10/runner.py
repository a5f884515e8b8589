"""One case after the other: a network, its training, and a file."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from kswap.converted import Conversion
from kswap.progress import ProgressBar
from kswap.studies.choice import Choice
from kswap.studies.cifar10.cases import Case, CaseResult
from kswap.studies.cifar10.data import recipe_of, splits_to_choose
from kswap.studies.cifar10.files import StudyFiles
from kswap.studies.cifar10.methods import find_method
from kswap.studies.cifar10.network import Method
from kswap.studies.cifar10.settings import Settings
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
            lr = self._rate(method)
            if lr is None:
                return False
            self.bar.label(f"{method.name} seed {case.seed}")
            began = time.perf_counter()
            network = method.build(self.settings, case.seed)
            built = time.perf_counter() - began
            done = train(
                self._placed(network.conversion),
                self.settings.data,
                recipe=self.recipe,
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
            )
            write(self.files.result_of(case), result)
            shutil.rmtree(work, ignore_errors=True)
        self.bar.log(
            f"{case.name}: {result.params:,} parameters, {result.accuracy:.2%}, with H-flip {result.hflip:.2%}, "
            f"{result.seconds:,.0f} s"
        )
        return True

    def _placed(self, conversion: Conversion) -> Conversion:
        conversion.model.to(self.settings.device)
        return conversion

    def _rate(self, method: Method) -> float | None:
        """The learning rate of a method, chosen once on training pictures; ``None`` while another process does so."""
        if not self.settings.learning_rates:
            return self.recipe.lr
        chosen_for = find_method(method.learns_as or method.name)
        path = self.files.choice_of(chosen_for.name)
        if not path.exists():
            with self.files.held(f"learning-rate_{chosen_for.name}") as work:
                if work is None:
                    return None
                if not path.exists():
                    self._choose(chosen_for, path, work)
                shutil.rmtree(work, ignore_errors=True)
        return read(path, Choice).lr

    def _choose(self, method: Method, path: Path, work: Path) -> None:
        self.bar.label(f"{method.name}: learning rates")
        learnt, held_out = splits_to_choose(self.settings)
        tried: list[tuple[float, float, float]] = []
        for factor in self.settings.learning_rates:
            lr = self.recipe.lr * factor
            done = train(
                self._placed(method.build(self.settings, 0).conversion),
                learnt,
                recipe=self.recipe,
                epochs=self.settings.choosing_epochs,
                lr=lr,
                out=work / f"{factor:g}",
                keep="last",
                eval_data=held_out,
                test_data=held_out,
                amp=self.settings.amp,
            )
            assert done.record.tested is not None
            tried.append((lr, done.record.tested.top1, done.record.tested.loss))
        lrs, accuracies, losses = zip(*tried, strict=True)
        best = max(tried, key=lambda one: (one[1], -one[2]))[0]
        write(path, Choice(method.name, best, lrs, accuracies, losses))
        shown = ", ".join(f"{accuracy:.2%} with {lr:g}" for lr, accuracy, _ in tried)
        self.bar.log(f"{method.name}: learning rate {best:g} ({shown})")
