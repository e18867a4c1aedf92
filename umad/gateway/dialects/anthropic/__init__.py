"""Anthropic's Messages API: translates its bodies for umad, and umad's answers into its shapes.

    attribution   removes the line of Claude Code that changes with every request
    conversation  turns bodies into turns and tools
    stream        turns parts of an answer into the events of a stream, or into one message
    errors        the dialect's error shape
    routes        the endpoints

All pure but for routes. Not: what bodies are accepted (`umad.gateway.bodies.anthropic`), nor
templates and parsers of tool calls (`umad.chat`).
"""
