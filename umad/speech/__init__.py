"""The speech engine: one Whisper model in processes of its own, under the daemon's supervisor.

Started by the daemon as `launch.command(options, fd)` makes it, it speaks the same link as an
engine of llama.cpp (`umad.protocol.link`) and takes one kind of work: calls `transcribe`, each of
which is one window of at most 30 seconds. The daemon asks for one window after the other
(`umad.daemon.transcriptions`). So nothing but a window is lost when a process dies or gives its
room away.

    daemon ─▶ this process: mail, the order of windows, the device board
                ├─▶ transcriber: whisper.cpp. It may be stopped anywhere (SIGSTOP), or killed
                └─▶ reader: decodes one recording, with limits; one for each that is being heard

whisper.cpp asks whether to go on only between two graphs, and the encoder is one graph: a second
for the smallest model, half a minute for the largest. So it cannot be paused or ended from inside.
A process of its own can, at once.

    launch        SpeechOptions and the command line; importable without the rest
    main          the process from its arguments to its exit; reads the link
    desk          whose window is next, and the answers
    pace          lets the transcriber run beside other engines' interactive work
    spells        when it may, and how long; pure
    transcriber   that process as this one sees it: starts, stops, continues, kills it
    hearing       that process itself; the only module that imports pywhispercpp
    window        one window: what is asked of the transcriber, and what it answers
    recordings    the recordings that are being heard; recording: one, cut into windows
    silence       what of a window is left out, because nobody makes a sound; pure
    reading       the reader's process: any sound file to 16 kHz, one channel
    words         words of tokens

Not: which request goes first for whom (the daemon's lanes), nor text models (`umad.engine`).
"""
