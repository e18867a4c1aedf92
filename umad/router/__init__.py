"""Decides which machine of a team serves which conversation, and makes HAProxy do so.

    policy   weights of nodes, places of sessions, and why; on scorecards, with times handed in. Pure
    haproxy  HAProxy's configuration, admin socket and process
    seams    what a running service will have to be: watching nodes, membership, and answers that go
             on at another node

HAProxy carries the bytes. So whatever is decided here has to be something that HAProxy can carry: a
weight from 0 to 256 for each node of a pool, and a pin of a session to a node's number.
Not: serving requests (the nodes do), nor one model on several machines.
Owner: one thread of the router's process, which is not written yet. Nothing here locks.
"""
