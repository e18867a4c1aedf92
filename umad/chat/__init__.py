"""What models write when they think and call tools: taken apart while it streams, or forced.

    formats   which family a model's template belongs to, and its marks of thinking and of calls
    events    what a reply is made of: content, reasoning, calls
    reader    `ReplyReader`: text in any pieces to events
    call_forms  the marks and readers of each family's calls: as JSON (calls; json_scan: JSON that
              is still being written) or between tags (tagged; argument_types: what a bare value
              means); call_run: a call while it is read
    call_ids  ids of calls where a template shows nothing else
    grammars  calls that are forced, as Lark grammars (lark: their pieces; tagged_grammars: of
              arguments between tags)
    channels  harmony, where everything is a message on a channel; marks: where marks stand

Pure: no I/O, no clock, no templates (`umad.engine.chats.chat_template` renders them); nobody's
thread. A front end makes a reader for each completion of a request with `markup`, from the model's
facts:

    reader = ReplyReader(format_of_facts(facts), tools=tools)
    for event in (*reader.push(text), *reader.finish()): ...

A malformed call is text again (its marks and all), never an error; one whose name has gone out
already ends where it breaks. Any division of the text gives the same events, merged.
"""
