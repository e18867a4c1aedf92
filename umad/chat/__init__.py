"""Splits a model's reply into content, reasoning and tool calls while it streams, or forces a call.

    formats   finds the family of a model's template, and its marks of thinking and of calls
    events    the parts of a reply: content, reasoning, calls
    reader    `ReplyReader`: turns text in any pieces into events
    call_forms  the marks and readers of each family's calls: as JSON (calls; json_scan: JSON that
              is still being written), in notations close to it (calls_in_literals; literals: their
              values), between tags (tagged; kimi_k3; nested_tags: MiniMax M3; argument_types: the
              type of a value without quotes), or in a fenced block (fenced; schema_fit: whether
              arguments fit their tool); call_run: a call while it is read
    call_ids  ids of calls for templates that show nothing else of a call
    grammars  forced calls as Lark grammars (call_rules: each family's; lark: their pieces;
              tagged_grammars, value_grammars: grammars of arguments that are not JSON)
    channels  harmony, where every message has a channel; marks: finds marks in a text

Pure: no I/O, no clock, no templates (`umad.engine.chats.chat_template` renders them). Owner: no
thread. A front end makes a reader for each completion of a request with `markup`, from the model's
facts:

    reader = ReplyReader(format_of_facts(facts), tools=tools)
    for event in (*reader.push(text), *reader.finish(cut=done.finish_reason == "length")): ...

A malformed call is never an error. It becomes text again, marks included; but if its name has
already gone out, the words up to its closing mark are its arguments, and it is told that it is not
whole. A reply that was cut off has no half marks and no half calls in its text. However the text is
divided into pieces, the merged events are the same.
"""
