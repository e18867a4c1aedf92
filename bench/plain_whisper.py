"""Hears noise with nothing around whisper.cpp: `python -m bench.plain_whisper MODEL THREADS`.

This is what somebody does who runs whisper.cpp beside a chat: one window of 30 s after the other,
at the usual priority. It shares no code with umad. Owner: the process itself, which ends with its
stdin.
"""

import importlib
import os
import sys
import threading

import numpy as np

_RATE, _WINDOW_S = 16_000, 30


def main() -> None:
    """Hear windows until stdin closes."""
    path, threads = sys.argv[1:]
    binding = importlib.import_module("_pywhispercpp")
    binding.whisper_log_set(lambda *_: None)
    context = binding.whisper_init_from_file_with_params(
        path, binding.whisper_context_default_params()
    )
    params = binding.whisper_full_default_params(
        binding.whisper_sampling_strategy.WHISPER_SAMPLING_GREEDY
    )
    params.n_threads, params.language, params.no_context = int(threads), "en", True
    params.print_progress = params.print_realtime = params.print_timestamps = False
    # whisper.cpp cannot be asked to stop within its encoder.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    random = np.random.default_rng(1)
    while True:
        window = (random.standard_normal(_RATE * _WINDOW_S) * 0.1).astype(np.float32)
        binding.whisper_full(context, params, window, window.size)


if __name__ == "__main__":
    main()
