"""Chat templates that refuse what others take, each in the shape of a real family's. Not tests.

They are written for tests, after the templates of Gemma 2, Mistral Nemo, Llama 2, Qwen3.5, gpt-oss,
DeepSeek R1, Phi 3.5, Hermes 2 and Kimi K2: what they refuse, walk through, demand and leave out is
theirs; everything else is left out.
"""

_ALTERNATE = (
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
)

# No system turn, no tools, strict turns.
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}" + _ALTERNATE + "<start_of_turn>{{ m.role }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}<start_of_turn>model\n"
)
# One system turn, no tools, strict turns.
LLAMA2 = (
    "{% if messages[0].role == 'system' %}{% set turns = messages[1:] %}"
    "{% set first = '<<SYS>>' + messages[0].content + '<</SYS>>' %}"
    "{% else %}{% set turns = messages %}{% set first = '' %}{% endif %}"
    "{% for m in turns %}" + _ALTERNATE + "{% if m.role == 'user' %}"
    "[INST] {{ first if loop.first else '' }}{{ m.content }} [/INST]"
    "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)
# Calls have ids of nine characters; calls and results stand outside the turns that must alternate.
MISTRAL = (
    "{% if messages[0].role == 'system' %}{% set turns = messages[1:] %}"
    "[SYS]{{ messages[0].content }}{% else %}{% set turns = messages %}{% endif %}"
    "{% set ns = namespace(index=0) %}"
    "{% for m in turns %}{% if not (m.role == 'tool' or m.tool_calls is defined) %}"
    "{% if (m.role == 'user') != (ns.index % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% set ns.index = ns.index + 1 %}{% endif %}{% endfor %}"
    "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}{% endif %}"
    "{% for m in turns %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]"
    "{% elif m.tool_calls is defined %}{{ m.content }}[TOOL_CALLS]{% for c in m.tool_calls %}"
    "{% if c.id | length != 9 %}{{ raise_exception('Tool call IDs have length 9!') }}{% endif %}"
    "{{ c.function | tojson }}{{ c.id }}{% endfor %}"
    "{% elif m.role == 'assistant' %}{{ m.content }}</s>"
    "{% elif m.role == 'tool' %}"
    "{% if m.tool_call_id is not defined or m.tool_call_id | length != 9 %}"
    "{{ raise_exception('Tool call IDs have length 9!') }}{% endif %}"
    "[TOOL_RESULTS]{{ m.content }}{{ m.tool_call_id }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}"
    "{% endfor %}"
)
# Arguments are walked through; a system turn comes first; somebody has to ask.
QWEN = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}"
    "{% set ns = namespace(asked=false) %}{% for m in messages %}"
    "{% if m.role == 'user' %}{% set ns.asked = true %}{% endif %}{% endfor %}"
    "{% if not ns.asked %}{{ raise_exception('No user query found in messages.') }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('System message must be at the beginning.') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content | trim }}"
    "{% for c in m.tool_calls or [] %}<tool_call><function={{ c.function.name }}>"
    "{% for name, value in c.function.arguments | items %}"
    "<parameter={{ name }}>{{ value if value is string else value | tojson }}</parameter>"
    "{% endfor %}</function></tool_call>{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
# No result without a call before it; only the first system turn is looked at.
HARMONY = (
    "{% set ns = namespace(called=false) %}{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'tool' %}{% if not ns.called %}"
    "{{ raise_exception('Message has tool role, but there was no previous tool call') }}{% endif %}"
    "<|start|>tool<|message|>{{ m.content }}<|end|>"
    "{% elif m.role == 'assistant' %}{% set ns.called = m.tool_calls is defined %}"
    "{% for c in m.tool_calls or [] %}<|start|>assistant to={{ c.function.name }}"
    "<|channel|>commentary<|message|>{{ c.function.arguments | tojson }}<|call|>{% endfor %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|end|>"
    "{% elif m.role == 'user' or loop.first %}<|start|>{{ m.role }}<|message|>{{ m.content }}"
    "<|end|>{% endif %}{% endfor %}<|start|>assistant"
)
# The last system turn is the only one; calls are shown if the content is null, and it never is.
DEEPSEEK = (
    "{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}"
    "{% set ns.system = m.content %}{% endif %}{% endfor %}{{ ns.system }}{% for m in messages %}"
    "{% if m.role == 'user' %}<\uff5cUser\uff5c>{{ m.content }}"
    "{% elif m.role == 'tool' %}{{ m.content }}"
    "{% elif m.role == 'assistant' and m.content is not none %}"
    "<\uff5cAssistant\uff5c>{{ m.content }}{% endif %}{% endfor %}<\uff5cAssistant\uff5c>"
)
# Knows three roles, and leaves out all others and all calls.
PHI = (
    "{% for m in messages %}{% if m.role in ['system', 'user', 'assistant'] and m.content %}"
    "<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endif %}{% endfor %}<|assistant|>\n"
)
# Walks through tools that are not there.
HERMES = (
    "<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% for m in messages %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}"
    '<tool_call>{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
# Adds to a list, which the sandbox forbids.
KIMI = (
    "{% set made = [] %}{% for m in messages %}<|im_middle|>{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls or [] %}{% set _ = made.append(c.id) %}{{ c.id }}"
    "{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}"
    "{% if tools %}{{ tools }}{% endif %}"
)
# Marks the assistant's words for training.
MARKED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}<a>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}{% endgeneration %}"
    "{% else %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}<a>"
)

STRICT = {
    "gemma 2": GEMMA,
    "llama 2": LLAMA2,
    "mistral nemo": MISTRAL,
    "qwen 3.5": QWEN,
    "gpt-oss": HARMONY,
    "deepseek r1": DEEPSEEK,
    "phi 3.5": PHI,
    "hermes 2": HERMES,
    "kimi k2": KIMI,
    "marked for training": MARKED,
}
