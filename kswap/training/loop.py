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
from kswap.graph.random_state import preserved_random_state
from kswap.progress import ProgressBar
from kswap.training.state import Measured, Quality, State
from kswap.training.work import WorkDirectory


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
        model: The model that is trained, in the task.
        optimizer: Of the weights in the task.
        schedule: Sets the learning rate after a number of steps.
        batches: Inputs and labels of a step. It is called with the generators of the step.
        steps: How many steps there are.
        batch: Images per step.
        seed: Where all random numbers of a step come from, together with its number.
        frozen: Whether batch norms keep their statistics.
        evaluations: How often ``measure`` is asked, evenly over the steps; the last step is one.
        measure: How good the weights are.
        score: What makes some weights the best: the greatest score. ``None`` for weights that cannot be.
        unsaved: Parts of the task whose weights never change, such as ``"teacher."``; a checkpoint is without them.
        work: Where the checkpoint is.
        checkpoint_seconds: How often it is written, beside after each measurement.
    """

    task: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int], object]
    batches: Callable[[int], tuple[Tensor, Tensor]]
    steps: int
    batch: int
    seed: int
    frozen: bool
    evaluations: int
    measure: Callable[[], Quality]
    score: Callable[[Quality], float | None] = lambda quality: quality.top1
    unsaved: tuple[str, ...] = ()
    work: WorkDirectory | None = None
    checkpoint_seconds: float = 20.0
    state: State = field(default_factory=State)

    def run(self, bar: ProgressBar) -> State:
        """Do what is left of the run. Raises :class:`TrainingError` where the loss is no finite number."""
        self._restore()
        start = saved = time.perf_counter()
        begun = self.state.seconds
        bar.advance(self.state.step)
        if not self.state.measured:
            self._note(None)
        while self.state.step < self.steps:
            loss = self._step()
            bar.advance(note=self._status(loss))
            now = time.perf_counter()
            self.state.seconds = begun + now - start
            due = is_point(self.state.step, self.steps, self.evaluations)
            if due:
                self._note(sum(self.state.losses) / len(self.state.losses))
                self.state.losses = []
            if self.work is not None and (due or now - saved >= self.checkpoint_seconds):
                self._save(self.work)
                saved = time.perf_counter()
        return self.state

    def _step(self) -> float:
        state = self.state
        set_modes_(self.model, self.frozen)
        with preserved_random_state(hash((self.seed, state.step)) % 2**63):
            inputs, labels = self.batches(state.step)
            loss: Tensor = self.task(inputs, labels)["loss"]
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            lower = wording("lr=", "--lr")
            raise TrainingError(
                f"the loss is no finite number after {state.step * self.batch:,} images: the learning rate "
                f"{self.lr:g} is too high, or the weights were damaged before; try a lower one ({lower})"
            )
        state.step += 1
        state.losses.append(value)
        self.schedule(state.step)
        return value

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def _note(self, loss: float | None) -> None:
        state, start = self.state, time.perf_counter()
        quality = self.measure()
        state.measuring_seconds += time.perf_counter() - start
        state.measured.append(Measured(state.step * self.batch, loss, quality.top1, quality.loss, self.lr))
        score = self.score(quality)
        if score is not None and state.step and (state.best_score is None or score > state.best_score):
            state.best_score = score
            state.best = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}

    def _status(self, loss: float) -> str:
        top1 = self.state.measured[-1].top1
        return f"loss {loss:.3f}" + (f", {top1:.1%}" if top1 is not None else "")

    def _save(self, work: WorkDirectory) -> None:
        own = {name: tensor for name, tensor in self.task.state_dict().items() if not name.startswith(self.unsaved)}
        work.save({"task": own, "optimizer": self.optimizer.state_dict(), "state": self.state.to_plain()})

    def _restore(self) -> None:
        found = self.work.load() if self.work is not None else None
        if found is None:
            return
        self.task.load_state_dict(found["task"], strict=False)
        self.optimizer.load_state_dict(found["optimizer"])
        self.state = State.of_plain(found["state"])
        self.schedule(self.state.step)
