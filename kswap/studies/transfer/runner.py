"""One case after the other: student, distillation, measurements, and a file."""

from __future__ import annotations

import copy
import time

import torch
from torch import nn

from kswap.graph.observe import observe
from kswap.progress import ProgressBar
from kswap.studies.choice import Choice
from kswap.studies.files import read, write
from kswap.studies.latency import write_graph
from kswap.studies.transfer.cases import Case, CaseResult
from kswap.studies.transfer.distilling import distil_, divergence
from kswap.studies.transfer.files import StudyFiles
from kswap.studies.transfer.methods import find_method
from kswap.studies.transfer.result import ORIGINAL, Original
from kswap.studies.transfer.student import Method, Student
from kswap.studies.transfer.subject import Subject, accuracy_of, logits_for
from kswap.transfer.recipe import Recipe, load_recipe


class Runner:
    """Runs cases on one subject, and says what it does."""

    def __init__(self, subject: Subject, files: StudyFiles, bar: ProgressBar) -> None:
        self.subject, self.files, self.bar = subject, files, bar
        self.settings = subject.settings

    def measure_original(self) -> None:
        """Write accuracy, counts and graph of the trained network, where they are not there."""
        subject = self.subject
        if not self.files.original.exists():
            self.bar.label("the trained network")
            accuracy = accuracy_of(subject.model, subject.validation)
            write(self.files.original, Original(subject.params, self._macs(subject.model), accuracy))
        self._write_graph(ORIGINAL, subject.model)

    def run(self, case: Case) -> None:
        """Make the student, distil it, measure it on the way, and write its file."""
        subject, method = self.subject, find_method(case.method)
        lr = self._choice(method).lr
        self.bar.label(f"{method.name} {case.share:.0%} seed {case.seed}")
        began = time.perf_counter()
        student = method.build(subject, case.share, case.seed)
        built = time.perf_counter() - began
        self._write_graph(case.network, student.model)

        def accuracy(seen: int) -> float | None:
            return accuracy_of(student.model, subject.validation) if self._point(seen, case) is not None else None

        began = time.perf_counter()
        recipe = self._recipe(lr, case.images, case.images // self.settings.early)
        measured = distil_(student, subject, recipe, case.seed, measure=accuracy, work=self.files.work_of(case))
        accuracies = {str(self._point(m.images, case)): m.top1 for m in measured if m.top1 is not None}
        result = CaseResult(
            case=case,
            note=student.note,
            params=sum(parameter.numel() for parameter in student.model.parameters()),
            macs=self._macs(student.model),
            lr=lr,
            frozen_norms=student.frozen_norms,
            accuracies=accuracies,
            build_seconds=round(built, 2),
            seconds=round(time.perf_counter() - began, 2),
        )
        write(self.files.result_of(case), result)
        shown = ", ".join(f"{accuracy:.3f} after {seen}" for seen, accuracy in accuracies.items())
        self.bar.log(f"{case.name}: {result.params:,} parameters, {shown}")

    def _point(self, seen: int, case: Case) -> int | None:
        """The point of the study at which accuracy is measured after ``seen`` images, which are whole batches."""
        batch = self._recipe(1.0, case.images, 1).batch
        return next((p for p in (0, self.settings.early, case.images) if p <= seen < p + batch), None)

    def _choice(self, method: Method) -> Choice:
        """The learning rate of a method, chosen once on training pictures that were held out."""
        path = self.files.choice_of(method.name)
        if path.exists():
            return read(path, Choice)
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

    def _write_graph(self, network: str, model: nn.Module) -> None:
        graph = self.files.graph_of(network)
        if not graph.exists():
            self.bar.label(f"{network}: optimising for ONNX Runtime")
            side = self.settings.latency_side
            write_graph(model, (self.subject.input_size[0], side, side), graph, self.settings.threads)

    def _macs(self, model: nn.Module) -> int:
        return observe(model, (torch.zeros(1, *self.subject.input_size),)).total.macs
