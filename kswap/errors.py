"""What kswap says when it cannot do what was asked: one sentence, with the way to mend it."""

from __future__ import annotations

import contextlib
import contextvars
import difflib
from collections.abc import Iterable, Iterator


class KswapError(Exception):
    """Base of all errors that a user can cause. The command line prints it as one line, exit status 2.

    Its message is one visible line: names out of files may hold escapes, line ends, or a hundred thousand characters.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(message_line(message))


class ModelError(KswapError):
    """The model cannot be found, built or run."""


class PlanError(KswapError):
    """A plan cannot be made, or does not fit the model that it is replayed on."""


class RuleError(KswapError):
    """A rule file cannot be read, or says something that kswap does not know."""


class SavedError(KswapError):
    """A directory cannot be written or loaded."""


class HubError(KswapError):
    """A model cannot be pushed to the Hugging Face Hub, or pulled from it."""


class DataError(KswapError):
    """Pictures cannot be found or read, or do not fit the model."""


class StudyError(KswapError):
    """A study's settings or results are wrong, or a method cannot make what is asked for."""


class ReportError(KswapError):
    """A report cannot be read, or a condition on it cannot be evaluated."""


class TrainingError(KswapError):
    """A model cannot be trained as asked, or its recipe cannot be read."""


class DeployError(KswapError):
    """A model cannot be optimised, exported or measured for a runtime."""


_COMMAND_LINE = contextvars.ContextVar("kswap_command_line", default=False)


@contextlib.contextmanager
def called_from_command_line() -> Iterator[None]:
    """Inside, messages name options of the command line instead of Python's arguments."""
    token = _COMMAND_LINE.set(True)
    try:
        yield
    finally:
        _COMMAND_LINE.reset(token)


def wording(python: str, command: str) -> str:
    """The one of two wordings of a hint that fits how kswap was called.

    >>> wording("pass force=True", "overwrite it with --force")
    'pass force=True'
    >>> with called_from_command_line():
    ...     wording("pass force=True", "overwrite it with --force")
    'overwrite it with --force'
    """
    return command if _COMMAND_LINE.get() else python


def visible(text: str) -> str:
    """``text`` on one line without control characters: each is written as its escape, as in a Python string.

    Names out of files may hold terminal escapes; nothing of that kind may reach a terminal.

    >>> print(visible("conv\\x1b[31m\\n1"))
    conv\\x1b[31m\\n1
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def excerpt(content: object, longest: int = 80) -> str:
    """What a message repeats of a file's content or of an argument: one visible line, at most ``longest`` characters.

    >>> excerpt("a" * 100, longest=10)
    'aaaaaaa...'
    """
    text = str(content)
    shown = visible(text[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def message_line(error: object, longest: int = 1000) -> str:
    """An error's message as a terminal may show it: one visible line, at most ``longest`` characters.

    >>> message_line(KswapError("no model\\n'\\x1b[31m'"))
    "no model '\\\\x1b[31m'"
    """
    return excerpt(" ".join(str(error)[: 10 * longest].split()), longest)


def first_line(error: BaseException) -> str:
    """The first line that says something of an exception's message, visible; its class where it has no message.

    >>> first_line(ValueError("\\nbad shape: [1, 2].\\nTraceback ..."))
    'bad shape: [1, 2]'
    >>> first_line(KeyboardInterrupt())
    'KeyboardInterrupt'
    """
    lines = (line.strip() for line in str(error)[:10_000].splitlines())
    line = next((line for line in lines if line), type(error).__name__)
    return excerpt(line, 200).rstrip(".:")


# Comparing takes the square of the length; no name of a model, a rule or an option is longer.
_LONGEST_NAME = 100


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """A hint with the known words nearest to ``word``, the likeliest first, or an empty string.

    >>> nearest("efficientnet_bo", ["efficientnet_b0", "resnet50"])
    '; did you mean efficientnet_b0?'
    """
    if len(word) > _LONGEST_NAME:
        return ""
    scored = [(-difflib.SequenceMatcher(None, word, name).ratio(), name) for name in known]
    matches = [name for score, name in sorted(scored)[:count] if score <= -0.6]
    return f"; did you mean {', '.join(matches)}?" if matches else ""
