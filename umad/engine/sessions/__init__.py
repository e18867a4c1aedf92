"""Keeps conversations on disk: cells and states of named sessions that outlive the engine.

    disk         SessionDisk: saves and reads beside the steps, on threads of its own
    trials       Trials: follows what was read from a file until it has been seen to work
    folder       SessionFolder: owns a model's folder, knows its files, removes the oldest
    file         the format of one file, and every check before it is believed
    identity     what saved cells and states depend on: one model, one layout, one build
    forget_desk  answers calls to forget, once the files are gone

Not: which sessions are worth a file (`umad.scheduler.memory.session_saving`).
"""
