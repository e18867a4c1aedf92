"""Renders chat messages to the text of a prompt, by the template in the model's file.

    chat_template     ChatTemplate: messages and tools to text
    family_turns      turns shaped as one family's template expects them
    template_values   turns and tools as templates know them
    thinking_variables  how much to think, in the template's own variables
    turn_forms        the same turns in an order that stricter templates take
    turn_ends         the places in a rendered chat up to which its next turn agrees
    turn_marks        the tokens of these places
    past_calls        calls of earlier turns: as objects for templates, or as text
    template_program  the Jinja source as a program
    template_process  TemplateProcess: runs it where it can be ended at any moment
    template_child    the process that it runs in
    unseen            words in the place of images and sounds that the model cannot take
    file_marks        FileMarks: keeps the places of images and sounds through a template
    plain_text        PlainText: keeps what users write from becoming control tokens

Not: parsing replies (`umad.chat`).
"""
