"""Lets engines of different models on one device see each other's work.

    page   the layout of the page, and a look at who has interactive work
    seat   BoardSeat: this engine's place on the page of shared memory, and its look at the others
    watch  BoardWatch: ends a background step for the sake of another engine's interactive work

Not: what background work does about it (`umad.scheduler.steps.neighbours`).
"""
