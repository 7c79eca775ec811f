"""Keys of a terminal."""

import os
import pty
import termios

import pytest

from kernelsim.live.terminal import QUIT, Keyboard, keys_in

pytestmark = [pytest.mark.mission("B6")]


def test_keys_are_told_apart():
    """Characters are keys, arrows have names, other keys without a character are left out."""
    assert ["s", " ", "up", "down", "page up", "q"] == keys_in("s \x1b[A\x1bOB\x1b[5~q")
    assert ["["] == keys_in("\x1b[C\x1b[1;5D\x1b\x1b[24~[")


def test_keys_come_at_once_and_the_terminal_is_restored():
    """No line end is needed, nothing is echoed; the settings are those of before at the end."""
    person, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    with Keyboard(terminal) as keyboard:
        assert [] == keyboard.read(0.0)
        os.write(person, b"s\x1b[B")
        assert ["s", "down"] == keyboard.read(5.0)
        assert not termios.tcgetattr(terminal)[3] & (termios.ICANON | termios.ECHO)

    assert before == termios.tcgetattr(terminal)
    os.close(terminal)
    os.close(person)


def test_a_terminal_that_is_gone_quits():
    """When the other side has closed, the key for leaving is read."""
    person, terminal = pty.openpty()
    with Keyboard(terminal) as keyboard:
        os.close(person)
        keys = keyboard.read(5.0)
        assert [QUIT] == keys
    os.close(terminal)
