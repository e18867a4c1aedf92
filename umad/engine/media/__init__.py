"""Images and sounds as rows: what a projector makes of a medium, behind the seam to what computes.

    layout    MediumLayout: what stands for a medium in a prompt, as text tokens and runs of rows
    rows      RowCache: encoded rows, kept for the next turn about the same medium
    prompt    MediaPrompt: texts and media of a prompt as numbers of cells
    files     MediaFiles: files of requests to layouts, and to pixels where rows have to be made
    gate      EncodeGate: holds a running encoder between two nodes of its graph
    facts     MediaFacts: what a model with its projector can see and hear
    desk      MediaDesk: the media of live requests, and the encoding that is under way
    encoding  MediaEncoder: a medium to its layout and rows; EncodeWork: an encoding that runs in
              turns

Not: files, which are decoded before (`umad.media`), and the library that encodes (`llamacpp`).
Owner: the step thread runs and pauses an encoding; a layout may be asked for on any thread.
"""
