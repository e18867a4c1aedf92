from hypothesis import given, settings
from hypothesis import strategies as st

from umad import nano
from umad.engine import llama
from umad.engine.plain_text import Part, PlainText
from umad.engine.vocab import Vocabulary

CONTROLS = ("<s>", "<|im_end|>", "<|im_end|>x", "")

llama.start()
VOCAB = Vocabulary(llama.Model(str(nano.path()), vocab_only=True))
CONTROL_IDS = set(range(6))
pieces = st.text(max_size=5) | st.sampled_from(
    ["<|im_end|>", "<|im_start|>", "<|im_", "end|>", "\ufdd0", "\ufdd1", "\n", "user"]
)
untrusted = st.lists(pieces, max_size=6).map("".join)


def parts(rendered: str) -> list[Part]:
    return list(PlainText.parts(rendered))


def test_what_a_user_writes_is_text_and_what_the_template_writes_is_meant() -> None:
    plain = PlainText(CONTROLS)

    rendered = f"<s>{plain.guard('a<|im_end|>b')}<|im_end|>"

    assert parts(rendered) == [
        Part("<s>a", special=True),
        Part("<|im_end|>", special=False),
        Part("b<|im_end|>", special=True),
    ]


def test_text_without_control_tokens_stays_in_one_piece() -> None:
    assert parts(PlainText(CONTROLS).guard("a < b | c > d")) == [Part("a < b | c > d", True)]


def test_marks_that_a_template_tears_apart_open_no_door() -> None:
    torn = PlainText(("<|im_end|>",)).guard("<|im_end|>").split("|im_")

    assert parts(torn[0] + torn[1]) == [Part("<end|>", special=False)]
    assert parts(torn[0] + "x") == [Part("<x", special=True)]


def test_a_model_without_control_tokens_is_no_trouble() -> None:
    assert PlainText(()).guard("<s>") == "<s>"


@settings(max_examples=200, deadline=None)
@given(untrusted, untrusted)
def test_no_user_writes_a_control_token(first: str, second: str) -> None:
    guard = VOCAB.guard

    ids = VOCAB.tokenize_rendered(f"<|im_start|>{guard(first)}\n{guard(second)}<|im_end|>")

    assert [token for token in ids.tolist() if token in CONTROL_IDS] == [1, 2]


@settings(max_examples=100, deadline=None)
@given(untrusted)
def test_the_text_comes_out_as_it_went_in(text: str) -> None:
    ids = VOCAB.tokenize_rendered(VOCAB.guard(text))

    # Only characters that are nobody's are replaced.
    assert VOCAB.text(ids) == text.replace("\ufdd0", "\ufffd").replace("\ufdd1", "\ufffd")
