"""Defines factors between units, so that each stands in one place. Values only."""

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
MS_PER_S = 1_000
BYTES_PER_MB = 1_000_000
