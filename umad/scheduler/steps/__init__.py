"""One step: who could run in it, what holds some of them back, and what it came to.

    candidates           Candidates: requests that could run; Hold: a rule keeps some of them back
    limits               StepLimits: what the interactive rows of the step allow
    governor             StepGovernor: applies the rules in order
    latency_guard        LatencyGuard: milliseconds of background work that a step may carry
    background_throttle  BackgroundThrottle: when background work waits for bytes or neighbours
    traffic_budget       TrafficBudget: a bucket of bytes that all steps empty (the ΣBMT budget)
    neighbours           Courtesy: little background work while another model is interactive
    newcomers            NewcomerLine: slices of the prompts that wait for a first token
    slice_size           SlicePicker: the size of a slice that an arrival may cut
    composer             StepComposer: the rows and slices of one step
    accounting           StepAccounting: books what a step came to

Pure; owner: the step thread.
"""
