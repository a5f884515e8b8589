"""The steps of a run: a function of the settings and of the number of the step, and of nothing else.

Each step starts torch's generators from the seed and its own number, so a run that continues after an interruption
draws what an undisturbed one draws, and its weights are the same to the last bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from kswap.errors import TrainingError, wording
from kswap.graph.device import device_of
from kswap.graph.random_state import preserved_random_state
from kswap.progress import ProgressBar
from kswap.training.processes import Processes
from kswap.training.state import Measured, Quality, State
from kswap.training.update import Update
from kswap.training.work import WorkDirectory

# Losses that are read from a GPU at once.
_UNREAD = 32


def order_of(count: int, steps: int, batch: int, seed: int) -> Tensor:
    """The numbers of the pictures of each step, ``(steps, batch)``: one random order of all after the other.

    >>> order_of(4, steps=2, batch=4, seed=0).sort().values.tolist()
    [[0, 1, 2, 3], [0, 1, 2, 3]]
    """
    generator = torch.Generator().manual_seed(seed)
    rounds = math.ceil(steps * batch / count)
    orders = [torch.randperm(count, generator=generator) for _ in range(rounds)]
    return torch.cat(orders)[: steps * batch].view(steps, batch)


def is_point(step: int, steps: int, points: int) -> bool:
    """Whether ``step`` is one of so many points that are spread evenly over the steps; the last step is one.

    >>> [step for step in range(1, 11) if is_point(step, 10, 3)]
    [4, 7, 10]
    """
    return step == steps or step * points // steps > (step - 1) * points // steps


def set_modes_(model: nn.Module, frozen: bool) -> None:
    """Training mode; with ``frozen``, batch norms keep their statistics, and their scale and shift are trained."""
    model.train()
    if frozen:
        for module in model.modules():
            if isinstance(module, _NormBase):
                module.eval()


@dataclass
class Loop:
    """The steps of one run.

    Args:
        task: Called with inputs and labels, as a task of :mod:`timm.task`; returns a table with the ``"loss"``.
        update: What a loss does to the weights of the model in the task.
        batches: Inputs and labels of a step. It is called with the generators of the step.
        steps: How many steps there are.
        batch: Images per step, of all processes together.
        seed: Where all random numbers of a step come from, together with its number.
        frozen: Whether batch norms keep their statistics.
        evaluations: How often ``measure`` is asked, evenly over the steps; the last step is one.
        measure: How good the weights are that are kept.
        score: What makes some weights the best: the greatest score. ``None`` for weights that cannot be.
        measures_first: Whether the weights are measured before the first step too.
        unsaved: Parts of the task whose weights never change, such as ``"teacher."``; a checkpoint is without them.
        work: Where the checkpoint is; of several processes only the first has one.
        checkpoint_seconds: How often it is written, beside after each measurement.
        processes: Those that train together.
    """

    task: nn.Module
    update: Update
    batches: Callable[[int], tuple[Tensor, Tensor]]
    steps: int
    batch: int
    seed: int
    frozen: bool
    evaluations: int
    measure: Callable[[], Quality]
    score: Callable[[Quality], float | None] = lambda quality: quality.top1
    measures_first: bool = True
    unsaved: tuple[str, ...] = ()
    work: WorkDirectory | None = None
    checkpoint_seconds: float = 20.0
    processes: Processes = field(default_factory=Processes)
    state: State = field(default_factory=State)

    def __post_init__(self) -> None:
        self._unread: list[Tensor] = []

    def run(self, bar: ProgressBar) -> State:
        """Do what is left of the run. Raises :class:`TrainingError` where the loss is no finite number."""
        self._restore()
        start = saved = time.perf_counter()
        begun = self.state.seconds
        bar.advance(self.state.step)
        if not self.state.measured and self.measures_first:
            self._note()
        while self.state.step < self.steps:
            self._step()
            now = time.perf_counter()
            self.state.seconds = begun + now - start
            due = is_point(self.state.step, self.steps, self.evaluations)
            writes = self.work is not None and (due or now - saved >= self.checkpoint_seconds)
            if due or writes or len(self._unread) == _UNREAD or self._unread[-1].device.type == "cpu":
                self._read_losses()
            bar.advance(note=self._status())
            if due:
                self._note()
            if self.work is not None and writes:
                self._save(self.work)
                saved = time.perf_counter()
        return self.state

    def _step(self) -> None:
        state = self.state
        set_modes_(self.update.model, self.frozen)
        with preserved_random_state(hash((self.seed, state.step)) % 2**63):
            inputs, labels = self.batches(state.step)
            with self.update.autocast():
                loss: Tensor = self.task(inputs, labels)["loss"]
            self.update(loss)
        state.step += 1
        self._unread.append(loss.detach())
        self.update.end_step(state.step)

    def _read_losses(self) -> None:
        """Wait for the losses of the steps since the last time: a GPU works ahead of what is read."""
        found = torch.stack(self._unread).tolist()
        self._unread = []
        self.state.losses += found
        if not all(map(math.isfinite, found)):
            lower = wording("lr=", "--lr")
            raise TrainingError(
                f"the loss is no finite number after {(self.state.step - 1) * self.batch:,} images: the learning rate "
                f"{self.update.lr:g} is too high, or the weights were damaged before; try a lower one ({lower})"
            )

    def _note(self) -> None:
        state, start = self.state, time.perf_counter()
        quality = self.measure()
        state.measuring_seconds += time.perf_counter() - start
        loss = self._mean_loss() if state.losses else None
        state.losses = []
        state.measured.append(Measured(state.step * self.batch, loss, quality.top1, quality.loss, self.update.lr))
        score = self.score(quality)
        if score is not None and state.step and (state.best_score is None or score > state.best_score):
            state.best_score, state.best_images = score, state.step * self.batch
            kept = self.update.kept.state_dict()
            state.best = {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}

    def _mean_loss(self) -> float:
        mean = sum(self.state.losses) / len(self.state.losses)
        if self.processes.count == 1:
            return mean
        own = torch.tensor(mean, device=device_of(self.update.model))
        return float(self.processes.sum_of(own)) / self.processes.count

    def _status(self) -> str:
        state = self.state
        known = [f"loss {state.losses[-1]:.3f}"] if state.losses else []
        top1 = state.measured[-1].top1 if state.measured else None
        return ", ".join([*known, *([] if top1 is None else [f"{top1:.1%}"])])

    def _save(self, work: WorkDirectory) -> None:
        own = {name: tensor for name, tensor in self.task.state_dict().items() if not name.startswith(self.unsaved)}
        work.save({"task": own, "state": self.state.to_plain(), **self.update.state_dict()})

    def _restore(self) -> None:
        found = self.processes.from_first(self.work.load() if self.work is not None else None)
        if found is None:
            return
        self.task.load_state_dict(found["task"], strict=False)
        self.state = State.of_plain(found["state"])
        self.update.load_state_dict(found, self.state.step)
