"""All cases of a study, one after the other; what has its file is not done again."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from kswap.codec import decode, encode
from kswap.errors import StudyError
from kswap.files import read_json
from kswap.graph.observe import observe
from kswap.progress import ProgressBar, progress_bar
from kswap.studies.transfer.cases import Case, CaseResult, Choice, read_choice, read_result, write
from kswap.studies.transfer.distilling import distil_, divergence
from kswap.studies.transfer.latency import write_graph
from kswap.studies.transfer.methods import METHODS, find_method
from kswap.studies.transfer.settings import Settings
from kswap.studies.transfer.student import Method, Student
from kswap.studies.transfer.subject import Subject, accuracy_of, logits_for
from kswap.transfer.recipe import Recipe, load_recipe

SETTINGS, CASES, CHOICES, GRAPHS, WORK = "settings.json", "cases", "learning-rates", "graphs", "work"


def run_study(
    settings: Settings,
    out: Path,
    methods: Sequence[str] = (),
    shares: Sequence[float] = (),
    minutes: float | None = None,
) -> None:
    """Run the cases of ``methods`` (all, where none is named) at ``shares`` that have no file in ``out`` yet.

    No further case begins after so many ``minutes``. A case that is interrupted begins again.

    Raises:
        StudyError: ``out`` holds a study with other settings.
    """
    chosen = [find_method(name) for name in methods or METHODS]
    _claim(settings, out)
    todo = [case for case in cases_of(settings, chosen, shares) if not path_of(out, case).exists()]
    if not todo:
        return
    end = None if minutes is None else time.monotonic() + 60 * minutes
    with progress_bar("reading pictures", total=len(todo)) as bar:
        runner = _Runner(Subject.of(settings, out), out, bar)
        for case in todo:
            if end is not None and time.monotonic() > end:
                return
            if not path_of(out, case).exists():  # another process may have done it meanwhile
                runner.run(case)
            bar.advance()


def cases_of(settings: Settings, methods: Sequence[Method], shares: Sequence[float] = ()) -> Iterator[Case]:
    """What matters most first: the main share with all seeds, then the others."""
    asked = [share for share in settings.shares if not shares or share in shares]
    for seed in range(settings.seeds):
        if settings.main_share in asked:
            yield from (Case(method.name, settings.main_share, seed, settings.images) for method in methods)
    for share in asked:
        if share != settings.main_share:
            yield from (Case(method.name, share, 0, settings.images) for method in methods)


def path_of(out: Path, case: Case) -> Path:
    """Where the result of ``case`` is, or will be."""
    return out / CASES / f"{case.name}.json"


def results_in(out: Path) -> list[CaseResult]:
    """The results of all cases that are done. Raises :class:`StudyError`."""
    return [read_result(path) for path in sorted((out / CASES).glob("*.json"))]


def settings_in(out: Path) -> Settings:
    """The settings of the study in ``out``. Raises :class:`StudyError`."""
    path = out / SETTINGS
    return decode(Settings, read_json(path, StudyError), str(path), StudyError)


def _claim(settings: Settings, out: Path) -> None:
    """Write the settings where there are none yet, and refuse others."""
    path = out / SETTINGS
    if not path.exists():
        write(path, settings)
    elif encode(settings_in(out)) != encode(settings):
        raise StudyError(f"{out} holds a study with other settings: give the same ones, or choose another --out")


class _Runner:
    """Runs cases on one subject, and says what it does."""

    def __init__(self, subject: Subject, out: Path, bar: ProgressBar) -> None:
        self.subject, self.out, self.bar = subject, out, bar
        self.settings = subject.settings

    def run(self, case: Case) -> None:
        """Make the student, distil it, measure it on the way, and write its file."""
        subject, method = self.subject, find_method(case.method)
        lr = self._choice(method).lr
        self.bar.label(f"{method.name} {case.share:.0%} seed {case.seed}")
        began = time.perf_counter()
        student = method.build(subject, case.share, case.seed)
        built = time.perf_counter() - began
        self._write_graph(case, student)
        points = {0, self.settings.early, case.images}

        def accuracy(seen: int) -> float | None:
            return accuracy_of(student.model, subject.validation) if min(seen, case.images) in points else None

        began = time.perf_counter()
        recipe = self._recipe(lr, case.images, case.images // self.settings.early)
        measured = distil_(student, subject, recipe, case.seed, measure=accuracy, work=self.out / WORK / case.name)
        accuracies = {str(min(m.images, case.images)): m.top1 for m in measured if m.top1 is not None}
        result = CaseResult(
            case=case,
            note=student.note,
            params=sum(parameter.numel() for parameter in student.model.parameters()),
            macs=observe(student.model, (torch.zeros(1, *subject.input_size),)).total.macs,
            lr=lr,
            frozen_norms=student.frozen_norms,
            accuracies=accuracies,
            build_seconds=round(built, 2),
            seconds=round(time.perf_counter() - began, 2),
        )
        write(path_of(self.out, case), result)
        shown = ", ".join(f"{accuracy:.3f} after {seen}" for seen, accuracy in accuracies.items())
        self.bar.log(f"{case.name}: {result.params:,} parameters, {shown}")

    def _choice(self, method: Method) -> Choice:
        """The learning rate of a method, chosen once on training pictures that were held out."""
        path = self.out / CHOICES / f"{method.name}.json"
        if path.exists():
            return read_choice(path)
        self.bar.label(f"{method.name}: learning rates")
        student = method.build(self.subject, self.settings.main_share, 0)
        tried = [(lr, *self._tried(copy.deepcopy(student), lr)) for lr in self.settings.learning_rates]
        lrs, accuracies, losses = zip(*tried, strict=True)
        choice = Choice(method.name, max(tried, key=lambda one: (one[1], -one[2]))[0], lrs, accuracies, losses)
        write(path, choice)
        self.bar.log(f"{method.name}: learning rate {choice.lr:g} of {choice.tried}, accuracies {choice.accuracies}")
        return choice

    def _tried(self, student: Student, lr: float) -> tuple[float, float]:
        """Accuracy and loss on the held-out pictures after a short distillation from the others."""
        subject = self.subject
        learnt, held_out = subject.split
        recipe = self._recipe(lr, self.settings.choosing_images, 1)
        distil_(student, subject, recipe, 0, numbers=learnt)
        loss = divergence(
            logits_for(student.model, subject.train, held_out), subject.answers[held_out], recipe.temperature
        )
        return accuracy_of(student.model, subject.train, held_out), loss

    def _recipe(self, lr: float, images: int, evaluations: int) -> Recipe:
        return load_recipe(self.settings.recipe, lr=lr, images=images, evaluations=evaluations)

    def _write_graph(self, case: Case, student: Student) -> None:
        graph = self.out / GRAPHS / f"{case.network}.onnx"
        if not graph.exists():
            write_graph(student.model, self.subject, graph)
