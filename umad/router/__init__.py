"""Decides which machine of a team serves which conversation, and makes HAProxy do so.

    policy   weights of nodes, places of sessions, and why; on scorecards, with times handed in
    haproxy  HAProxy's configuration, admin socket and process
    members  who belongs to the team: a file on the router's disk
    authority    the team's own certificates          invitations  tokens: who may join, once
    joining      how a machine joins: the router's side, and the machine's
    asking   asks nodes how they are, over TLS with certificates on both sides
    pools    the commands that make HAProxy what it should be
    moves    sessions that leave a node which stays full
    service  the router: all of these, once a second
    running  its process                     folder   its files and settings
    telling  what people see of it           seams    what the service needs of the rest
    cards    scorecards of all nodes added up: models, apps, requests
    lan      the router announced in its local network, and found there: a hint

HAProxy carries the bytes, in a process of its own, and goes on where the router dies. So whatever
is decided here has to be something that HAProxy can carry: a weight from 0 to 256 for each node of
a pool, and a pin of a session to a node's number.
`policy`, `pools`, `moves` and HAProxy's texts are pure.
Not: serving requests (the nodes do), nor one model on several machines.
Owner: one event loop of the router's process. Nothing here locks.
"""
