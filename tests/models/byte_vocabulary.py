"""A vocabulary of any size for models that have none: byte-level BPE over printable ASCII.

Not a test. Written with the gguf package.
"""

from gguf import GGUFWriter

_CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_END, _TURN_END = 0, 2
_CONTROL, _NORMAL = 3, 1
_SPACE, _NEWLINE = "\u0120", "\u010a"  # as byte-level BPE writes them
_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def add_vocabulary(writer: GGUFWriter, n_tokens: int) -> None:
    """Exactly so many tokens, and a chat template."""
    tokens, merges = _vocabulary(n_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL if one in _CONTROLS else _NORMAL for one in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(_END)
    writer.add_eos_token_id(_TURN_END)
    writer.add_token_type_count(2)
    writer.add_chat_template(TEMPLATE)


def _vocabulary(n_tokens: int) -> tuple[list[str], list[str]]:
    """Controls, printable ASCII, then pairs of letters and their merges."""
    letters = [_SPACE, _NEWLINE, *(chr(code) for code in range(33, 127))]
    tokens = [*_CONTROLS, *letters][:n_tokens]
    merges = []
    for pair in ((a, b) for a in (*_LETTERS, *letters) for b in _LETTERS):
        if len(tokens) == n_tokens:
            break
        if "".join(pair) not in tokens:
            tokens.append("".join(pair))
            merges.append(" ".join(pair))
    # Test models of a codec have more tokens than there are pairs.
    tokens += [f"<|extra_{number}|>" for number in range(n_tokens - len(tokens))]
    return tokens, merges
