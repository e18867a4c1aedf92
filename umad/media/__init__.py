"""Images and sounds of requests, decoded: what an engine gets of them.

A client sends a file as it is. What an engine gets is a `Medium`: pixels or samples, decoded and
checked. In a prompt a medium stands at a place that is named by its index among the request's
media, never by a text: a text could come from a user.

    medium         Medium: one decoded image or sound, a value
    decoder        MediaDecoder: makes a Medium of a file, in a process of its own
    decoder_child  that process, which forks one more for each file
    images         image files to pixels; sounds: sound files to samples
    recognizing    what a file is, for errors
    limits         MediaLimits: bytes, pixels, seconds, memory

Not here: the projector that makes rows for a model out of a medium (the engine).
"""
