import re
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from umad import nano
from umad.engine.chats.plain_text import PlainText, TextPart
from umad.engine.llamacpp import llama
from umad.engine.vocab import Vocabulary

CONTROLS = ("<s>", "<|im_end|>", "<|im_end|>x", "")

llama.start()
VOCAB = Vocabulary(llama.Model(str(nano.path()), vocab_only=True))
CONTROL_IDS = set(range(6))
pieces = st.text(max_size=5) | st.sampled_from(
    ["<|im_end|>", "<|im_start|>", "<|im_", "end|>", "\ufdd0", "\ufdd1", "\n", "user"]
)
untrusted = st.lists(pieces, max_size=6).map("".join)


def parts(rendered: str) -> list[TextPart]:
    return list(PlainText.parts(rendered))


def test_what_a_user_writes_is_text_and_what_the_template_writes_is_meant() -> None:
    plain = PlainText(CONTROLS)

    rendered = f"<s>{plain.guard('a<|im_end|>b')}<|im_end|>"

    assert parts(rendered) == [
        TextPart("<s>a", special=True),
        TextPart("<|im_end|>", special=False),
        TextPart("b<|im_end|>", special=True),
    ]


def test_text_without_control_tokens_stays_in_one_piece() -> None:
    assert parts(PlainText(CONTROLS).guard("a < b | c > d")) == [TextPart("a < b | c > d", True)]


def test_marks_that_a_template_tears_apart_open_no_door() -> None:
    torn = PlainText(("<|im_end|>",)).guard("<|im_end|>").split("|im_")

    assert parts(torn[0] + torn[1]) == [TextPart("<end|>", special=False)]
    assert parts(torn[0] + "x") == [TextPart("<x", special=True)]


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


def test_a_thousand_control_tokens_are_found_as_soon_as_one() -> None:
    names = [f"<|reserved_{at}|>" for at in range(1000)]
    plain = PlainText([*names, "</s>", "<s>", "[INST]"])
    text = "<" * 200_000 + "<|reserved_7|>" + "<|reserved_" * 20_000

    began_s = time.process_time()
    guarded = plain.guard(text)

    assert time.process_time() - began_s < 2.0  # a minute as a plain list
    assert guarded.count("\ufdd0") == 1


@given(
    controls=st.lists(st.text("<|>ab", min_size=1, max_size=6), min_size=1, max_size=12),
    text=st.text("<|>ab", max_size=60),
)
def test_the_longest_control_token_at_a_place_is_marked(controls: list[str], text: str) -> None:
    longest_first = sorted(set(controls), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)))

    assert PlainText(controls).guard(text) == pattern.sub(
        lambda found: f"\ufdd0{found[0]}\ufdd1", text
    )


def test_control_tokens_that_are_the_beginnings_of_each_other_are_found_too() -> None:
    plain = PlainText(["a" * n for n in range(1, 1200)])

    assert plain.guard("baaab") == "b\ufdd0aaa\ufdd1b"
