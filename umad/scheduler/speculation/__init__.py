"""Guesses how a stream goes on, and decides how many guesses a step verifies: often none.

A step may compute several rows of one stream: its known token, and behind it guessed ones. A token
is drawn from each row in order, with the random number of its position, and the first token that
differs from its guess ends the run. So every token is drawn from the same distribution, with the
same number, as without guesses: the text is the same, and only the number of steps differs.

    grams       GramTable: where the last tokens of a text stand in another one, or in itself
    lookup      PromptLookup: guesses from what the prompt and the answer say already
    other_texts  OtherTexts: what other streams of the same app say and have said
    borrowing   Borrowing: guesses from one of those texts
    guessing_stream  GuessingStream: the guesses of one stream, from the likeliest source
    acceptance  Acceptance: how often such guesses are right, by stream and by app
    drafting    Drafting: what a draft model guesses where the text tells nothing, and how much of a
                text it reads for that
    choice      chosen: how many guesses of each stream are worth their rows
    price_trial  PriceTrial: now and then some steps with guesses that seem too dear, so that
                what they cost is known
    gain        MeasuredGain: what guessing has really brought on this machine; stops it where it
                does not pay
    speculator  Speculator: puts guesses into a plan, and learns from the step's result

Where a grammar or a tool's template allows one text only, that text is the guess
(`Submission.forced`), and it is sure to hold. So the keys of a JSON object take a step together
and not one each.

Three rules keep it from doing harm:
1. Acceptance is learnt from every token that is drawn, whether its guess was verified or not. So
   trying costs nothing. A draft's guesses are the exception: their price has the draft's own time
   in it, and what the draft reads is bounded.
2. The price of more rows is the cost model's, and is tried now and then. No interactive stream of
   a step may lose by the rows of another one.
3. The gain is measured, with the host's part. Where it is none, guessing rests, for longer each
   time.

Not: drawing tokens and comparing them with guesses (`umad.engine.steps.token_drawing`), nor
computing a draft (`umad.engine.drafts`). Models
whose sequences cannot be shortened (recurrent states, sliding windows) have no guesses at all, and
no `Speculator`.

Pure; owner: the step thread.
"""
