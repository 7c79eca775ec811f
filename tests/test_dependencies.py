"""What is imported is declared in pyproject.toml, and what is declared is used."""

import re
import sys
import tomllib
from functools import cache

import pytest

from tests.house_rules import TOP, Source, imports, sources

PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = {"kernelsim", "tests", "tools", "workloads"}
DISTRIBUTIONS = {  # of packages that go by another name
    "elftools": "pyelftools",
    "prometheus_client": "prometheus-client",
}
RUN_ONLY = {  # used without an import
    "coverage": "pytest runs under it where coverage is asked for",
    "damo": "reads our records of DAMON",
    "mypy": "a gate",
    "pytest-trio": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
    "ruff": "a gate",
}


def declared(requirements: list[str]) -> set[str]:
    """Return the names of requirements, without versions and extras."""
    return {re.split(r"[^A-Za-z0-9_.-]", text)[0].lower() for text in requirements}


@cache  # each file is parsed for several tests
def modules_of(source: Source) -> set[str]:
    """Return the packages that a source imports."""
    return {name.split(".")[0] for _, name in imports(source)}


def imported(*folders: str) -> set[str]:
    """Return the packages that are neither ours nor Python's and are imported in some folders."""
    modules = set().union(*map(modules_of, sources(*folders)))
    return {DISTRIBUTIONS.get(m, m) for m in modules - OURS - set(sys.stdlib_module_names)}


NEEDED = declared(PROJECT["dependencies"])
FOR_CLUSTERS = {"distributed"} if PROJECT["optional-dependencies"]["cluster"] else set()
FOR_TESTS = declared(PROJECT["optional-dependencies"]["test"])


def test_every_import_of_the_package_is_declared():
    """What the package imports comes with it, or with the extra `cluster`."""
    assert set() == imported("kernelsim") - NEEDED - FOR_CLUSTERS
    assert set() == imported("workloads") - NEEDED


def test_every_import_of_tests_and_tools_is_declared():
    """What tests and tools import comes with the extra `test`."""
    assert set() == imported("tests", "tools") - NEEDED - FOR_TESTS


@pytest.mark.parametrize(
    ("names", "folders"),
    [(NEEDED, ("kernelsim",)), (FOR_TESTS, ("tests", "tools"))],
    ids=["dependencies", "test"],
)
def test_everything_declared_is_used(names, folders):
    """Each declared package is imported, or run without an import for a reason that is given."""
    assert set() == names - imported(*folders) - set(RUN_ONLY)


def test_an_undeclared_import_would_be_found():
    """Another package, also one imported inside a function, is no part of what is declared."""
    assert {"trio", "numpy"} <= imported("kernelsim")
    assert "orjson" not in NEEDED | FOR_TESTS
    assert {"a-b", "c"} == declared(["A-b[x]>=1", "c"])
