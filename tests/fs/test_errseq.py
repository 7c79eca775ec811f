"""Errors that each listener hears once."""

import errno

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.fs.errseq import errseq_check_and_advance, errseq_sample, errseq_set


def test_an_error_is_heard_once():
    """The first fsync after an error reports it, the next one does not."""
    value = errseq_set(0, errno.EIO)
    error, value = errseq_check_and_advance(value, 0)
    assert error == errno.EIO
    assert errseq_check_and_advance(value, value) == (0, value)


def test_an_unheard_error_waits_for_the_next_to_open():
    """Who opens the file after the error hears it, if nobody did; else only of later ones."""
    value = errseq_set(0, errno.EIO)
    assert errseq_sample(value) == 0
    _, value = errseq_check_and_advance(value, 0)
    assert errseq_sample(value) == value


@given(st.lists(st.one_of(st.sampled_from([errno.EIO, errno.ENOSPC]), st.integers(-3, -1))))
def test_each_listener_hears_the_latest_of_what_it_missed(steps):
    """Three listeners that ask at any time: each hears an error if one came since it last asked."""
    value, since, missed = 0, [0, 0, 0], [0, 0, 0]
    for step in steps:
        if step > 0:
            value = errseq_set(value, step)
            missed = [step] * 3
            continue
        heard, value = errseq_check_and_advance(value, since[step])
        since[step] = value
        assert heard == missed[step]
        missed[step] = 0
