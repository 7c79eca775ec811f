"""Tests of what `sar` would have printed, where no run gets to."""

from kernelsim.report.metrics import MetricsRecorder
from kernelsim.report.rate_text import sar_text
from kernelsim.units import NS_PER_S

NODE = (
    *("free", "nr_file_pages", "nr_swapcached", "nr_slab_reclaimable", "nr_slab_unreclaimable"),
    *("nr_active_anon", "nr_active_file", "nr_inactive_anon", "nr_inactive_file", "nr_dirty"),
)
MACHINE = ("buffers", "available", "committed_as", "swap_total")


def test_no_less_than_nothing_is_used(tmp_path):
    """Counters that are summed one after another may be more than all memory: 0 kB are in use.

    Source: sysstat 12.6.1 pr_stats.c:stub_print_memory_stats
    """
    recorder = MetricsRecorder(("t_ns", *(f"node0_{name}" for name in NODE), *MACHINE))
    pages = {"node0_free": 60, "node0_nr_file_pages": 50}
    for second in range(2):
        row = {"t_ns": second * NS_PER_S, **pages}
        recorder.append([row.get(name, 0) for name in recorder.columns])
    recorder.write(tmp_path / "metrics.parquet")
    text = sar_text(tmp_path / "metrics.parquet", NS_PER_S, option="-r", nr_cpus=1, total_kb=400)
    free, _, used, percent, _, cached = text.splitlines()[3].split()[1:7]
    assert (free, used, percent, cached) == ("240", "0", "0.00", "200")
