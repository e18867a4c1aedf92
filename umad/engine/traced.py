"""Names the parts of an engine that a trace shows. They are imported only where one is asked for.

Not: how they are recorded (`umad.tracing`).
"""

from umad.tracing import Part

PARTS = (
    Part("step", "umad.engine.steps.loop:StepLoop", "_step"),
    Part("plan", "umad.scheduler.scheduler:Scheduler", "plan"),
    Part("batch", "umad.engine.llamacpp.batch:PlanWriter", "write"),
    Part("decode call", "umad.engine.llamacpp.llama:Context", "decode"),
    Part("encoder's turn", "umad.engine.media.desk:MediaDesk", "encode"),
    Part("rows of a medium", "umad.engine.llamacpp.decode_runner:DecodeRunner", "_run_rows"),
    Part("logits", "umad.engine.llamacpp.llama:Context", "logits"),
    Part("sampling", "umad.engine.steps.token_drawing:TokenDrawing", "sample"),
    Part("detokenize", "umad.engine.steps.completion_stream:CompletionStream", "text_of"),
    Part("emit", "umad.engine.mail.emitter:Emitter", "put"),
    Part("books", "umad.scheduler.scheduler:Scheduler", "apply"),
    Part("tally", "umad.engine.mail.step_tally:StepTally", "add"),
    Part("mail", "umad.engine.mail.mailbox:", "route"),
)
