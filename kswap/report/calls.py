"""How kswap was called, as text: the command line as it was typed, or the outermost Python function.

Reports keep it, and reports are passed on: the user's home directory is written as ``~``.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from kswap.errors import excerpt

P = ParamSpec("P")
R = TypeVar("R")

_LONGEST_ARGUMENT = 200
_CALL = contextvars.ContextVar("kswap_call", default="")


@contextlib.contextmanager
def called_as(text: str) -> Iterator[None]:
    """Inside, :func:`current_call` is ``text``, unless a call further out has said what it is.

    >>> with called_as("kswap convert resnet50"), called_as("kswap.convert('resnet50')"):
    ...     current_call()
    'kswap convert resnet50'
    """
    token = _CALL.set(_CALL.get() or text)
    try:
        yield
    finally:
        _CALL.reset(token)


def current_call() -> str:
    """The outermost call of kswap that is running; empty outside of one."""
    return _CALL.get()


def recorded(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator of a public function: while it runs, :func:`current_call` is its call under ``name``.

    >>> @recorded("kswap.example")
    ... def example(model, ch=16, seed=None):
    ...     return current_call()
    >>> example("resnet50", 16, seed=0)
    "kswap.example('resnet50', seed=0)"
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # which raises it where the caller expects it
            with called_as(_call_text(name, signature, bound)):
                return function(*args, **kwargs)

        return run

    return decorate


def command_text(arguments: Sequence[str]) -> str:
    """A command line as it was typed.

    >>> command_text(["convert", "resnet50", "--fail-if", "params.ratio > 0.5"])
    "kswap convert resnet50 --fail-if 'params.ratio > 0.5'"
    """
    return " ".join(["kswap", *(_quoted(excerpt(without_home(word), _LONGEST_ARGUMENT)) for word in arguments)])


def _quoted(word: str) -> str:
    """A word as a shell reads it; ``~`` in front stays outside of quotes, where the shell knows it."""
    if word == "~" or word.startswith("~/"):
        return word[:2] + (shlex.quote(word[2:]) if word[2:] else "")
    return shlex.quote(word)


def without_home(text: str) -> str:
    """``text`` with ``~`` for the path of the user's home directory."""
    with contextlib.suppress(RuntimeError):  # there is none
        home = str(Path.home())
        if len(home) > 1:
            return "~" if text == home else text.replace(home + os.sep, "~" + os.sep)
    return text


def argument_text(value: object) -> str:
    """An argument as it is shown: texts, numbers and tables as in Python, anything else by its class.

    >>> argument_text(0.2), argument_text({"ch": [8, 16]}), argument_text(print)
    ('0.2', "{'ch': [8, 16]}", 'builtin_function_or_method(...)')
    """
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        return repr(excerpt(without_home(value), _LONGEST_ARGUMENT))
    if _is_plain(value):
        return excerpt(without_home(repr(value)), _LONGEST_ARGUMENT)
    return f"{type(value).__name__}(...)"


def _is_plain(value: object) -> bool:
    """Whether a value is made of what JSON has."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _call_text(name: str, signature: inspect.Signature, bound: inspect.BoundArguments) -> str:
    """The call without the arguments that have their default."""
    shown = []
    for key, value in bound.arguments.items():
        parameter = signature.parameters[key]
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            shown += [f"{word}={argument_text(item)}" for word, item in value.items()]
        elif parameter.default is inspect.Parameter.empty:
            shown.append(argument_text(value))
        elif not _same(value, parameter.default):
            shown.append(f"{key}={argument_text(value)}")
    return f"{name}({', '.join(shown)})"


def _same(value: Any, default: Any) -> bool:
    """Whether an argument has its default; tensors and the like are never compared."""
    return value is default or (_is_plain(value) and _is_plain(default) and bool(value == default))
