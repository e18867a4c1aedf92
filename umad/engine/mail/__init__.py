"""Carries messages between the daemon and the step thread.

    mailbox      Mailbox: the thread that reads frames
    intake       Intake: from a `Submit` to a stream that the scheduler can take
    media_intake  MediaIntake: files of a request to rows' places in its prompt
    long_intake  requests that take long to tokenize or compile, beside the mailbox
    fair_queue   FairQueue: decides whose turn it is among those
    step_mail    StepMail: mail from other threads to the step thread
    step_news    News: the results of a step, and their encoding as a report
    step_tally   StepTally: adds up what steps did, until it is worth telling
    emitter      Emitter: the socket's sending side

Not: acting on a message (`umad.engine.steps`).
"""
