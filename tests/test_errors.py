"""Tests of the exceptions."""

import errno
import inspect
import pickle

import pytest

from kernelsim import errors

EXAMPLES = [
    errors.ConfigError("vm.swappiness", 300, "must be 0..200", "box.toml"),
    errors.WorkloadError("no such step", "mix.txt", 4),
    errors.RecordingError("zoneinfo", 12, "wants 'pages free'"),
    errors.CheckFailedError("expected at least one major fault"),
    errors.DeadlockError("nobody can move\nkswapd0 waits for a message"),
    errors.SyscallError(errno.ENOMEM, "mmap"),
]


def test_config_error_names_file_key_value_and_rule():
    """One line names the file, the key, the value and the rule."""
    assert str(EXAMPLES[0]) == "box.toml: vm.swappiness = 300: must be 0..200"
    keyword = errors.ConfigError(key="seed", value="x", rule="must be a number")
    assert str(keyword) == "seed = 'x': must be a number"


def test_user_errors_stay_on_one_line():
    """Line breaks and long values from the outside do not make a message longer than a line."""
    error = errors.ConfigError("size", "6\n" * 500, "must be\n a size")
    assert "\n" not in str(error)
    assert len(str(error)) < 120
    assert str(errors.WorkloadError("a\nb")) == "a b"


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("w.txt", 3, "w.txt:3: bad"),
        ("w.txt", None, "w.txt: bad"),
        (None, 3, "line 3: bad"),
        (None, None, "bad"),
    ],
)
def test_places(file, line, expected):
    """File and line stand in front, as compilers print them."""
    assert expected == str(errors.WorkloadError("bad", file, line))
    assert expected == str(errors.RecordingError(file, line, "bad"))


def test_syscall_error_names_the_errno():
    """A system call's error shows the call, the errno's name and its text."""
    assert str(EXAMPLES[-1]) == "mmap: ENOMEM (Cannot allocate memory)"
    assert str(errors.SyscallError(errno.EINVAL)) == "EINVAL (Invalid argument)"
    assert EXAMPLES[-1].errno == errno.ENOMEM


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_pickle(error):
    """Errors cross process borders with all they say."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_every_error_has_an_exit_status():
    """Each class is wrong use, a failed check, a bug of ours, or an outcome of the kernel's."""
    roots = (
        errors.UserError,
        errors.CheckFailedError,
        errors.SimulationError,
        errors.OutcomeError,
    )
    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    kinds = [kind for kind in found if kind.__module__ == errors.__name__]
    assert len(kinds) > len(roots)
    for kind in kinds:
        assert kind is errors.KernelsimError or issubclass(kind, roots)
        assert issubclass(kind, errors.KernelsimError)
