"""Computes a chat's last answer ahead, in the form in which the chat's next turn will show it.

Templates show an answer otherwise than it was generated: they drop its thinking, write its calls
anew, trim its blanks. Then the next turn's prompt agrees with what was computed only up to the
answer. While the engine rests, it computes that prompt as far as it is known, so the next turn
begins with its own words.

    turns        the values: a chat that is being answered, and the one whose answer has ended
    next_prompt  NextPrompts: the tokens of the next turn's prompt
    reader       AheadReader: makes them on a thread of its own
    desk         AheadDesk: the step thread's part: when they are computed, and when not

Nobody asked for this work: any arrival ends it, nobody is told of it or charged for it, and there
is one at a time. Its cells belong to the chat's owner, salt and session, and are forgotten with
them.
Not: deciding what stays in the pool (the scheduler).
"""
