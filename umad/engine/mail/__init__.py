"""Messages between the daemon and the step thread.

    mailbox      Mailbox: the thread that reads frames
    intake       Intake: from a `Submit` to a stream that the scheduler can take
    long_intake  requests that take long to tokenize or compile, beside the mailbox
    fair_queue   FairQueue: whose turn it is among those
    step_mail    StepMail: what other threads hand to the step thread
    step_news    News: what a step brought, and how it becomes a report
    step_tally   StepTally: what steps did, added up until it is worth telling
    emitter      Emitter: the socket's sending side

Not: what is done about a message (`umad.engine.steps`).
"""
