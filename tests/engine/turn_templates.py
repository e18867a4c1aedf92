"""Chat templates that show a turn otherwise once the next one has come. Not tests.

They are written for tests, after what published templates do with thinking, tools and the places
where the answer begins; everything else is left out.
"""

# Shows thoughts of the turn that goes on, and none of earlier ones. After Qwen3.
DROPS_THOUGHTS = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>\n"
    "{{ m.content }}\n</tool_response><|im_end|>\n{% elif m.role == 'assistant' %}"
    "<|im_start|>assistant\n"
    "{% if loop.index0 > ns.last and m.reasoning_content %}<think>\n"
    "{{ m.reasoning_content.strip() }}\n</think>\n\n{% endif %}{{ m.content.strip() }}"
    "{% for c in m.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}<|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
# The answer begins with an opened thought, which the history shows empty. After GLM 4.6.
OPENS_THOUGHTS = (
    "[gMASK]<sop>{% if tools %}<|system|>\n{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'tool' %}<|observation|>\n<tool_response>\n"
    "{{ m.content }}\n</tool_response>{% elif m.role == 'assistant' %}<|assistant|>\n"
    "<think></think>{% if m.content.strip() %}\n{{ m.content.strip() }}{% endif %}"
    "{% for c in m.tool_calls or [] %}\n<tool_call>{{ c.function.name }}\n"
    "{% for k, v in c.function.arguments | items %}<arg_key>{{ k }}</arg_key>\n"
    "<arg_value>{{ v }}</arg_value>\n{% endfor %}</tool_call>{% endfor %}"
    "{% else %}<|{{ m.role }}|>\n{{ m.content }}{% endif %}{% endfor %}<|assistant|>\n<think>\n"
)
# Thoughts have a channel, which is left out once a final word follows. After gpt-oss.
CHANNELS = (
    "<|start|>system<|message|>Reasoning: medium<|end|>"
    "{% if tools %}<|start|>developer<|message|>{{ tools | tojson }}<|end|>{% endif %}"
    "{% set ns = namespace(last=-1) %}{% for m in messages %}"
    "{% if m.role == 'assistant' and not m.tool_calls %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}{% if m.role == 'tool' %}"
    "<|start|>functions.look to=assistant<|channel|>commentary<|message|>"
    "{{ m.content | tojson }}<|end|>{% elif m.role == 'assistant' %}"
    "{% if m.tool_calls %}{% if m.thinking and loop.index0 > ns.last %}<|start|>assistant"
    "<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
    "<|start|>assistant to=functions.{{ m.tool_calls[0].function.name }}"
    "<|channel|>commentary json<|message|>{{ m.tool_calls[0].function.arguments | tojson }}"
    "<|call|>{% else %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|end|>"
    "{% endif %}{% else %}<|start|>{{ 'developer' if m.role == 'system' else m.role }}<|message|>"
    "{{ m.content }}<|end|>{% endif %}{% endfor %}<|start|>assistant"
)
# The system's words belong to the first user's turn, and answers are trimmed. After Gemma 3.
FOLDS_SYSTEM = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + "
    "'\n\n' %}{% set turns = messages[1:] %}{% else %}{% set first = '' %}"
    "{% set turns = messages %}{% endif %}{% for m in turns %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}"
    "{% endif %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ first if loop.first else '' }}{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
# Tools stand before the last question, so they move with each turn. After Mistral 7B v0.3.
MOVES_TOOLS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{% if tools and loop.last %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]"
    "{% endif %}[INST]{{ m.content }}[/INST]{% elif m.role == 'tool' %}"
    "[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]{% elif m.role == 'assistant' %}"
    "{% if m.tool_calls %}[TOOL_CALLS]{{ m.tool_calls[0].function | tojson }}</s>"
    "{% else %}{{ m.content }}</s>{% endif %}{% else %}[SYS]{{ m.content }}[/SYS]"
    "{% endif %}{% endfor %}"
)
# No control tokens and no end of a question but the words themselves. After Llama 2 and Alpaca.
IN_WORDS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}### Response:\n{{ m.content }}\n\n"
    "{% else %}### {{ 'Instruction' if m.role == 'user' else m.role }}:\n{{ m.content }}\n\n"
    "{% endif %}{% endfor %}### Response:\n"
)

TURNS = {
    "drops thoughts": DROPS_THOUGHTS,
    "opens thoughts": OPENS_THOUGHTS,
    "channels": CHANNELS,
    "folds the system's words": FOLDS_SYSTEM,
    "moves tools": MOVES_TOOLS,
    "in words": IN_WORDS,
}
CONTROLS = (
    "<|im_start|>",
    "<|im_end|>",
    "[gMASK]",
    "<sop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|channel|>",
    "<|call|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "<\uff5cUser\uff5c>",
    "<\uff5cAssistant\uff5c>",
    "<|im_middle|>",
    "<s>",
    "</s>",
)
