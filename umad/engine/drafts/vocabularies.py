"""Tells whether two models have the same tokens, so that one may guess for the other.

Only what both have is compared: makers fill vocabularies up to round numbers with tokens that stand
for nothing (Qwen 2.5 has 151,936 of them in its small models, and 152,064 in its large ones). A
draft never guesses a token that its target has not, nor reads one that it has not itself.
Not: how either is tokenized; the draft only ever sees tokens.
"""

from umad.engine.tokens import TokenTable

_SHOWN_CHARS = 40


def first_difference(target: TokenTable, draft: TokenTable) -> str:
    """The first token that differs, in words; "" where none does.

    It asks for the text of every token of both: half a second for 150,000 of them.
    """
    kinds = (
        ("ends an answer", target.eog_tokens(), draft.eog_tokens()),
        ("is a control token", target.control_tokens(), draft.control_tokens()),
    )
    n_both = min(target.n_vocab, draft.n_vocab)
    for token in range(n_both):
        mine = target.piece(token, special=True)
        its = draft.piece(token, special=True)
        if mine != its:
            return f"token {token} is {_shown(mine)} in the model and {_shown(its)} in the draft"
        for what, of_target, of_draft in kinds:
            if (token in of_target) != (token in of_draft):
                where = "model" if token in of_target else "draft"
                return f"token {token} {_shown(mine)} {what} in the {where} alone"
    longer, where = (target, "model") if target.n_vocab > n_both else (draft, "draft")
    for token in range(n_both, longer.n_vocab):
        piece = longer.piece(token, special=True)
        if piece:  # a token that stands for nothing has no text
            return f"token {token} {_shown(piece)} is in the {where} alone"
    return ""


def _shown(piece: bytes) -> str:
    return repr(piece.decode("utf-8", "replace")[:_SHOWN_CHARS])
