"""Shows who uses the machine's models, live, and lets a person change it: `umad top`.

One more client of the socket: it asks for models, requests and the scorecard once a second, and
draws what it got. Nothing is decided here, and the daemon does nothing for it that `umad ps` and
`umad metrics` do not ask for too.

    command    the command: is this a terminal, is there a daemon
    standing   the daemon's answers as rows of text; no screen
    figures    figures, bars and sparklines as text of a fixed width
    slowness   what an app's late gaps coincided with, in words: "who slows me"
    screen     the screen and its keys, the only module that imports Textual with `dialogs`
    dialogs    a question before something is changed, and the page about slowness

Everything is told in words and signs. Colour only repeats it, so NO_COLOR loses nothing.
Owner: the command's event loop.
"""
