"""A draft model: a small one that guesses what its target, the engine's model, says next.

It shares the target's process, device and threads, and its time is part of the target's steps:

    plan ─▶ the draft guesses what the plan asks for ─▶ plan with guesses ─▶ decode, verify

Verifying is as for all guesses (`umad.scheduler.speculation`), so a draft changes no text and only
the number of steps. When it guesses, and how much it reads for that, the scheduler decides; here it
is carried out.

    held_texts    HeldTexts: which sequence of the draft's pool holds which text. What differs from
                  a text is given up, what texts have in common is shared, and what was used
                  longest ago makes room
    drafter       Drafter: carries out orders: reads what is asked for, and guesses one token after
                  the other, for all streams together. It stops where mail comes
    desk          DraftDesk: completes a plan before it runs
    vocabularies  first_difference: whether two models have the same tokens

A text is served only by what was computed for one of the same salt. So nobody can tell by a
draft's speed what another owner has asked.

Not: a context of llama.cpp (`umad.engine.llamacpp.draft_model`). Owner: the step thread.
"""
