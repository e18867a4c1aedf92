"""Keeps conversations on disk: cells of named sessions that outlive the engine.

    disk         SessionDisk: saves and reads beside the steps, on threads of its own
    folder       SessionFolder: owns a model's folder, knows its files, removes the oldest
    file         the format of one file, and every check before it is believed
    identity     what saved cells depend on: one model, one layout, one build
    forget_desk  answers calls to forget, once the files are gone

Not: which sessions are worth a file (`umad.scheduler.memory.session_saving`).
"""
