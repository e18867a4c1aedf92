"""Holds the requests that wait for a place in the KV pool, and places them in order.

    waiting_line    WaitingLine: every waiting request, by lane, owner and app
    app_queue       AppQueue: those of one app, and which of them is offered a place
    ranking         Ranking: which app is next, while what they were served goes on rising
    orders          Order: the sort keys of every "who goes first"; one class for each order
    token_counters  TokenCounters: tokens served to each owner and app (VTC)
    followers       Followers: lets a request wait while another computes what both begin with
    placement       Placer: lets waiting requests in, and preempts others for them

Not: what a step computes (`steps`). Owner: the step thread.
"""
