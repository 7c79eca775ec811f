"""The generator of the random steps, held against published and recorded figures."""

import pytest

from kernelsim.workload.script.splitmix import SplitMix64


def test_published_sequence():
    """The first numbers from seed 1234567 are those of the published test vector."""
    numbers = SplitMix64(1234567)

    assert [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ] == [*numbers.draw(2).tolist(), *numbers.draw(1).tolist()]


@pytest.mark.parametrize(
    ("seed", "accesses", "writes"), [(11, 56880, 28753), (33, 40528, 20328), (44, 57520, 28744)]
)
def test_recorded_mix_of_writes(seed: int, accesses: int, writes: int):
    """The recorded program made exactly these writes among its first accesses from that seed."""
    numbers = SplitMix64(seed)

    assert writes == int(numbers.draw_accesses(51200, 50, accesses)[1].sum())


def test_pages_are_the_number_modulo_the_region():
    """A page index is the next number modulo the pages of the region."""
    assert 6457827717110365317 % 1000 == SplitMix64(1234567).draw_pages(1000, 1)[0]
    assert 6457827717110365317 % 1000 == SplitMix64(1234567).draw_accesses(1000, 0, 1)[0][0]
