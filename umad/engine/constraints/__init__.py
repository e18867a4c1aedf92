"""Keeps answers to a grammar, a schema or a tool call.

    answer_rules  AnswerRules: from a request to the mask that its answer must keep to
    answer_mask   AnswerMask: the tokens that may come next, made while the device decodes
    thinking_limit  ThinkingLimit: ends a thinking that has taken as many tokens as it may
    guidance      Guidance: grammars compiled by llguidance; the only importer of it
    plain_schema  a schema without what has no effect, in the compiler's words
    schema_formats  formats of texts as patterns
    distinct_items keeps the items of an array apart, which no grammar can say
    schema_bounds what a schema may hold before it is compiled
    schema_fault  finds the place of a fault in a schema that a compiler only names

Not: the draw under a mask (`umad.sampling`).
"""
