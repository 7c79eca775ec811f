"""The picture of a page fault in the README is what a machine does."""

from tests.house_rules import TOP
from tools.draw_fault import Message, draw, picture


def test_the_readme_shows_the_fault_of_today():
    """`python -m tools.draw_fault README.md` renews the picture when costs have changed."""
    assert draw() in (TOP / "README.md").read_text(encoding="utf-8")


def test_a_message_is_a_line_with_its_time_and_its_answer():
    """It goes from who sent it to who heard it, either way; others are not drawn."""
    lines = picture(
        [
            Message(1000, "p-100", "fault-100", "PageFault", 3500),
            Message(1250, "kswapd0", "cpu0", "Schedule", 1300),
            Message(2000, "engine", "node0", "EndSwapRead"),
        ]
    ).splitlines()
    assert ["process", "fault", "handler", "cpu0", "node0", "vda"] == lines[0].split()[1:7]
    assert ["0.00", "|---PageFault--->|", "|", "|", "|", "2.50"] == lines[1].split()
    assert ["1.00", "|", "|", "|", "|<-EndSwapRead---|"] == lines[2].split()
    assert len(lines) == 3
