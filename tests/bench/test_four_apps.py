"""Tables of the four-apps benchmark, and memory of real processes."""

import os

import psutil
import pytest

from bench.four_apps import Run, comparisons, tree_pss_bytes
from bench.table import Spread


def run_of(tokens_per_s: float, pss_bytes: int | None) -> Run:
    return Run(tokens_per_s=tokens_per_s, first_token_p50_ms=10.0, pss_bytes=pss_bytes)


def test_apps_are_compared_by_speed_and_memory() -> None:
    runs = {
        "umad": [run_of(80.0, 110 * 2**20)],
        "server per app": [run_of(40.0, 420 * 2**20)],
    }

    (table,) = comparisons(runs, title="4 apps", model_bytes=100 * 2**20, baseline="server per app")

    assert table.ratio("tokens/s of all apps", "umad") == Spread(median=2, low=2, high=2)
    assert table.samples["memory, times the model"] == {"umad": [1.1], "server per app": [4.2]}


def test_memory_is_left_out_where_the_system_does_not_tell() -> None:
    runs = {"umad": [run_of(80.0, None)], "peer": [run_of(40.0, None)]}

    (table,) = comparisons(runs, title="4 apps", model_bytes=1, baseline="peer")

    assert set(table.samples) == {"tokens/s of all apps", "first token p50, ms"}


@pytest.mark.skipif(not psutil.LINUX, reason="only Linux tells the proportional set size")
def test_a_tree_weighs_at_least_what_its_top_holds_alone() -> None:
    weight_bytes = tree_pss_bytes([os.getpid()])

    assert weight_bytes is not None
    assert weight_bytes >= psutil.Process().memory_full_info().uss
