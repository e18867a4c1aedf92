"""Composes one step from the requests that could run, and books its results.

    candidates           Candidates: requests that could run; Hold: a rule keeps some of them back
    adapter_turns        AdapterTurns: the set of LoRA adapters that the rows of the step have
    scoring              bounds the rows whose logits tell how probable a prompt's tokens are
    limits               StepLimits: what the interactive rows of the step allow
    governor             StepGovernor: applies the rules in order
    latency_guard        LatencyGuard: milliseconds of background work that a step may carry
    overruns             Overruns: how many steps were over the cap for background work's sake
    background_throttle  BackgroundThrottle: holds background work back for bytes or neighbours
    traffic_budget       TrafficBudget: a bucket of bytes that all steps empty (the ΣBMT budget)
    neighbours           Courtesy: little background work while another model is interactive
    newcomers            NewcomerLine: slices of the prompts that wait for a first token
    patience             Patience: first tokens that come sooner against tokens that come later
    slice_size           SlicePicker: the size of a slice that an arrival may cut
    cut_cost             CutCost: what it costs that a step may be cut
    cut_wait             CutWait: how long an arrival waits for a step that it cuts
    composer             StepComposer: the rows and slices of one step
    accounting           StepAccounting: books the results of a step

Pure; owner: the step thread.
"""
