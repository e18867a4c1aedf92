"""Anthropic's Messages API: bodies, what they ask of umad, and answers in that dialect.

    bodies        what is accepted
    attribution   the line of Claude Code that changes with every request
    conversation  bodies to turns and tools
    stream        parts of an answer to the events of a stream, or to one message
    errors        the dialect's error shape

All pure. Not: routes (`umad.gateway`), nor templates and parsers of tool calls (`umad.chat`).
"""
