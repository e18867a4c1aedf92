"""Conversations on disk: cells of named sessions that outlive the engine.

    disk         SessionDisk: saves and reads beside the steps, on threads of its own
    folder       SessionFolder: whose folder, what is in it, what goes
    file         what is in one file, and every check before it is believed
    identity     what saved cells are good for: one model, one layout, one build
    forget_desk  answers calls to forget, once the files are gone

Not: which sessions are worth a file (`umad.scheduler.memory.session_saving`).
"""
