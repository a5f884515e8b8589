"""Every package that kswap needs at run time has bounds, and what is installed here lies within them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# These bring so much along that they are not installed for every run of the tests.
NOT_FOR_TESTS = {"ray", "datasets", "nncf"}
EXTRAS = [line for name, lines in PROJECT["optional-dependencies"].items() if name != "test" for line in lines]


@pytest.mark.parametrize("line", sorted({*PROJECT["dependencies"], *EXTRAS}))
def test_a_dependency_has_both_bounds_and_fits_what_is_installed(line: str) -> None:
    requirement = Requirement(line)
    assert {bound.operator for bound in requirement.specifier} == {">=", "<"}
    if requirement.name in NOT_FOR_TESTS and importlib.util.find_spec(requirement.name) is None:
        return
    installed = importlib.metadata.version(requirement.name)  # the extra `test` installs all others
    assert requirement.specifier.contains(installed, prereleases=True)
