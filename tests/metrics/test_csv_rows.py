"""CSV lines that a spreadsheet and a later version both read."""

import csv

from umad.metrics import CSV_COLUMNS, Scorecard, csv_header, csv_row


def test_a_row_has_a_value_for_every_column_and_unknown_is_empty() -> None:
    card = Scorecard(latency_cap=1.2, budget_gbps=None)
    card.accepted(1, "m", "batch", "app", 1)

    text = csv_header() + csv_row(card.snapshot(10**9, {}), at="2026-01-01T00:00:00Z")

    (row,) = csv.DictReader(text.splitlines())
    assert list(row) == list(CSV_COLUMNS)
    assert row["at"] == "2026-01-01T00:00:00Z"
    assert row["requests"] == "1"
    assert row["p95_ms"] == ""


def test_columns_keep_their_places() -> None:
    # Files written by earlier versions are joined to ours: add at the end, move nothing.
    assert CSV_COLUMNS[:4] == ("at", "window_s", "tokens_per_s_at_cap", "tokens_per_s")
    assert CSV_COLUMNS[33:36] == ("queue_interactive", "queue_background", "queue_other")
