"""Tests of marking and loading Python workloads: what is found, and each mistake in one line."""

import sys

import pytest

from kernelsim.errors import ConfigError, WorkloadError
from kernelsim.workload import GIB, simulation, workload
from kernelsim.workload.api import Workload, load_workload, workload_mistake

GOOD = """
from kernelsim.workload import simulation

@simulation
async def main(engine):
    await engine.sleep(5)
"""


@pytest.fixture
def load(tmp_path):
    """Write a workload file and load it."""

    def write_and_load(text, name="w.py"):
        path = tmp_path / name
        path.write_text(text)
        return load_workload(path)

    return write_and_load


def test_simulation_marks_a_function_of_the_engine(load):
    """The file's one workload is returned with its kind."""
    found = load(GOOD)
    assert isinstance(found, Workload)
    assert (found.kind, found.function.__name__, found.machine) == ("simulation", "main", None)


def test_workload_remembers_its_options():
    """The decorator stores machine, limit and tunables, and changes nothing else."""

    async def main(machine):
        pass

    marked = workload(machine="numa-2x4g", until="10s", settings={"vm.swappiness": 10})(main)
    assert marked == Workload(main, "machine", "numa-2x4g", "10s", {"vm.swappiness": 10})
    assert workload(main) == Workload(main, "machine")
    assert GIB == 1 << 30


@pytest.mark.parametrize("decorator", [simulation, workload, workload(machine="x")])
def test_a_workload_is_async(decorator):
    """A plain function is refused where it stands."""

    def main(engine):
        pass

    line = main.__code__.co_firstlineno
    with pytest.raises(WorkloadError) as caught:
        decorator(main)
    assert (
        str(caught.value)
        == f"{__file__}:{line}: a workload is an async function: async def main(…)"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "w.py: no workload in it: mark a function with @workload or @simulation"),
        (GOOD + GOOD.replace("main", "other"), "w.py: 2 workloads in it (main, other): keep one"),
        (
            "import no_such_module\n",
            "w.py:1: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("x = 1\nassert x == 2\n", "w.py:2: AssertionError"),
        ("x = (\n", "w.py:1: SyntaxError: '(' was never closed"),
        ("raise SystemExit(3)\n", "w.py:1: SystemExit: 3"),
        ("def f():\n    1 / 0\n\nf()\n", "w.py:2: ZeroDivisionError: division by zero"),
        (GOOD.replace("async ", "").replace("await ", ""), "w.py:4: a workload is an async func"),
        ("from kernelsim.workload import workload\nworkload(size=1)\n", "w.py:2: TypeError: "),
        ("\0", "source code string cannot contain null bytes"),
    ],
)
def test_mistakes_in_the_file_are_one_line(load, text, said):
    """Each names the file, the line and what is wrong."""
    with pytest.raises(WorkloadError) as caught:
        load(text)
    shown = str(caught.value)
    assert said in shown
    assert "\n" not in shown


def test_missing_file_and_foreign_names_are_one_line(tmp_path, load):
    """So are a file that is not there, and a directory."""
    with pytest.raises(WorkloadError, match=r"none\.py: No such file or directory"):
        load_workload(tmp_path / "none.py")
    (tmp_path / "d.py").mkdir()
    with pytest.raises(WorkloadError, match=r"d\.py: Is a directory"):
        load_workload(tmp_path / "d.py")


def test_a_second_name_is_not_a_second_workload(load):
    """An alias, or a workload imported from elsewhere, does not count."""
    assert load(GOOD + "alias = main\n").function.__name__ == "main"


def test_neighbours_can_be_imported(tmp_path, load):
    """A file may import a module beside it, and an imported workload is not its own."""
    (tmp_path / "neighbour_of_w.py").write_text(GOOD.replace("main", "theirs"))
    before = list(sys.path)
    found = load("from neighbour_of_w import theirs\n" + GOOD)
    assert found.function.__name__ == "main"
    assert sys.path == before


def test_nothing_is_written_beside_the_file(tmp_path, load):
    """Loading leaves no compiled files."""
    load(GOOD)
    assert [path.name for path in tmp_path.iterdir()] == ["w.py"]


def test_mistakes_in_a_run_are_told_from_ours(tmp_path, load):
    """An exception raised in the file or a library it calls is the author's, not one in ours."""
    path = tmp_path / "w.py"
    bodies = {
        "bad": "return 1 / 0",
        "library": "import json; json.loads('{')",
        "ours": "from kernelsim.config.number_list import parse_number_list as f; f(5)",
    }
    load(GOOD + "".join(f"\ndef {name}():\n    {body}\n" for name, body in bodies.items()))
    names = sys.modules["kernelsim_workload_w"].__dict__
    with pytest.raises(ZeroDivisionError) as caught:
        names["bad"]()
    assert str(workload_mistake(caught.value, path)).endswith(
        "w.py:9: ZeroDivisionError: division by zero"
    )
    with pytest.raises(ValueError, match="Expecting") as caught:
        names["library"]()
    assert "w.py:12: JSONDecodeError: Expecting" in str(workload_mistake(caught.value, path))
    with pytest.raises((AttributeError, TypeError)) as caught:
        names["ours"]()
    assert workload_mistake(caught.value, path) is None


def test_user_errors_of_a_run_name_the_file(tmp_path):
    """A refused value gets the place; one that has a place keeps it."""
    path = tmp_path / "w.py"
    mistake = workload_mistake(ConfigError("size", "1X", "is no size"), path)
    assert str(mistake) == f"{path}: size = '1X': is no size"
    placed = WorkloadError("wrong", "other.txt", 3)
    assert workload_mistake(placed, path) is placed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("@workload\nasync def main(): pass\n", "a workload takes one argument, as in async def"),
        ("@simulation\nasync def main(a, b): pass\n", "a workload takes one argument"),
        ("@workload(machine=5)\nasync def main(m): pass\n", "machine = 5: must be a preset"),
        ("@workload(until=1.5)\nasync def main(m): pass\n", "until = 1.5: a duration is a whole"),
        ("@workload(settings=['x'])\nasync def main(m): pass\n", "settings = ['x']: must be tunab"),
        ("@workload(settings={1: 2})\nasync def main(m): pass\n", "1 is no name of a tunable"),
        (
            "@workload(burst_pages='x')\nasync def main(m): pass\n",
            "burst_pages = 'x': must be a wh",
        ),
        ("raise BaseException('odd')\n", "BaseException: odd"),
    ],
)
def test_wrong_options_of_an_author_name_the_line(load, text, told):
    """They are refused when the file is loaded, in one line with the file and its line."""
    with pytest.raises(WorkloadError) as caught:
        load(f"from kernelsim.workload import simulation, workload\n{text}")
    assert told in str(caught.value)
    assert "w.py:2: " in str(caught.value)
