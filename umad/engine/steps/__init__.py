"""Runs the step thread: plan, decode, sample, send; then again.

    loop               StepLoop: the only one to touch scheduler, runner and streams
    completion_stream  CompletionStream: one completion's sampler, text and counts
    told_waits         ToldWaits: when the daemon is told again why requests wait
    token_drawing      TokenDrawing: rows of logits to tokens
    prompt_scorer      PromptScorer: how probable the tokens of a prompt are
    cutter             Cutter: ends a decode that others need not wait for
    rehearsal          Rehearsal: learns at load what streams feel here, through the real loop
    cost_file          CostFile: remembers what steps cost for the next start
    spinning           SpinWatch: lets decode threads spin or sleep while they wait for cores
    own_cores          OwnCores: keeps two threads of a decode from one core
    decode_waits       DecodeWaits: how long decode threads had no core

Owner: the step thread, which is the process's main thread.
"""
