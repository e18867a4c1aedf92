"""Engines of different models on one device: what they show each other.

    seat   BoardSeat: this engine's place on the page of shared memory, and its look at the others
    watch  BoardWatch: ends a background step for the sake of another engine's interactive work

Not: what background work does about it (`umad.scheduler.steps.neighbours`).
"""
