"""All cases of a study, one after the other; what has its file is not done again."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from kswap.studies.transfer.subject import Pictures, Subject, accuracy_of, answers_of

SETTINGS, CASES, CHOICES, GRAPHS = "settings.json", "cases", "learning-rates", "graphs"


def run_study(
    settings: Settings, out: Path, methods: Sequence[str] = (), shares: Sequence[float] = (), minutes: float | None = None
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
        runner = _Runner(Subject.of(settings), out, bar)
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
        method = find_method(case.method)
        lr = self._choice(method).lr
        self.bar.label(f"{method.name} {case.share:.0%} seed {case.seed}")
        began = time.perf_counter()
        student = method.build(self.subject, case.share, case.seed)
        built = time.perf_counter() - began
        graph = self.out / GRAPHS / f"{case.network}.onnx"
        if not graph.exists():
            write_graph(student.model, self.subject, graph)
        accuracies = {"0": accuracy_of(student.model, self.subject.validation)}
        began = time.perf_counter()

        def each(seen: int) -> None:
            if seen == self.settings.early or seen == case.images:
                accuracies[str(seen)] = accuracy_of(student.model, self.subject.validation)

        self._distil(student, self.subject.train, self.subject.answers, lr, case.images, case.seed, each)
        result = CaseResult(
            case=case,
            note=student.note,
            params=sum(parameter.numel() for parameter in student.model.parameters()),
            macs=_macs(student.model, self.subject),
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
        settings, subject = self.settings, self.subject
        learnt, held_out = subject.split
        self.bar.label(f"{method.name}: learning rates")
        student = method.build(subject, settings.main_share, 0)
        tried = [(lr, *self._tried(copy.deepcopy(student), lr, learnt, held_out)) for lr in settings.learning_rates]
        best = max(tried, key=lambda entry: (entry[1], -entry[2]))
        choice = Choice(method.name, best[0], *zip(*tried, strict=True))
        write(path, choice)
        self.bar.log(f"{method.name}: learning rate {choice.lr:g} of {choice.tried}, accuracies {choice.accuracies}")
        return choice

    def _tried(self, student: Student, lr: float, learnt: Any, held_out: Any) -> tuple[float, float]:
        """Accuracy and loss on the held-out pictures after a short distillation from the others."""
        settings, subject = self.settings, self.subject
        self._distil(student, subject.train.taken(learnt), subject.answers[learnt], lr, settings.choosing_images, 0)
        logits = answers_of(student.model, subject.train.inputs[held_out])
        accuracy = float((logits.argmax(1) == subject.train.labels[held_out]).float().mean())
        return accuracy, float(divergence(logits, subject.answers[held_out], settings.temperature))

    def _distil(self, student: Student, pictures: Pictures, answers: Any, lr: float, images: int, seed: int, each: Any = None) -> None:
        distil_(student, pictures.inputs, answers, self.settings, lr, images, seed, each or (lambda seen: None))


def _macs(model: torch.nn.Module, subject: Subject) -> int:
    return observe(model, (subject.validation.inputs[:1],)).total.macs
