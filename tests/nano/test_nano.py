"""What ships: the file, its metadata, its card; and the rules by which its corpus was made."""

from __future__ import annotations

import ast
import hashlib
import random
import re
from pathlib import Path
from typing import Any

import pytest

from umad import nano
from umad.nano.train import corpus, pairs

SOURCE = '''\
"""Shapes."""

import math


class Circle:
    """A circle around the origin."""

    def area(self, scale=1.0):
        """Return the area, times a scale.

        Negative scales are allowed.
        """
        return scale * math.pi * self.radius ** 2


def undocumented():
    return None
'''


def document(name: str = "shapes.py", text: str = SOURCE) -> corpus.Document:
    return corpus.Document(name=name, text=text)


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(str(nano.path()))
    return {key: field.contents() for key, field in reader.fields.items()}


def test_the_model_ships_and_is_at_most_ten_megabytes() -> None:
    size_bytes = nano.path().stat().st_size
    assert 1_000_000 < size_bytes <= 10_000_000


def test_the_card_names_the_hash_of_the_file_that_ships() -> None:
    digest = hashlib.sha256(nano.path().read_bytes()).hexdigest()
    assert digest in nano.card_path().read_text()


def test_the_card_states_corpus_seed_minutes_tokens_loss_and_licence() -> None:
    card = nano.card_path().read_text()
    for fact in (
        r"names and texts:\s+`[0-9a-f]{64}`",
        r"Seed \d+",
        r"\d+ minutes of wall time",
        r"\d+ tokens seen",
        r"\*\*\d\.\d{3} bits per byte\*\*",
        r"PSF-2\.0",
        r"What it is not",
    ):
        assert re.search(fact, card), fact


def test_llama_cpp_is_told_an_architecture_and_a_context_it_knows(
    metadata: dict[str, Any],
) -> None:
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.context_length"] == 4096
    assert metadata["tokenizer.ggml.model"] == "gpt2"
    assert metadata["tokenizer.ggml.pre"] == "gpt-2"
    assert metadata["tokenizer.ggml.add_bos_token"] is False


def test_every_special_token_is_where_the_metadata_says(metadata: dict[str, Any]) -> None:
    tokens = metadata["tokenizer.ggml.tokens"]
    named = {
        "eos": corpus.END,
        "eot": corpus.IM_END,
        "fim_pre": corpus.FIM_PREFIX,
        "fim_suf": corpus.FIM_SUFFIX,
        "fim_mid": corpus.FIM_MIDDLE,
    }
    for key, token in named.items():
        assert tokens[metadata[f"tokenizer.ggml.{key}_token_id"]] == token
    assert 4000 <= len(tokens) == len(set(tokens)) <= 8000
    kinds = metadata["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == 3]
    assert set(control) == set(corpus.SPECIALS)


def test_the_chat_template_renders_as_the_training_pairs_do(metadata: dict[str, Any]) -> None:
    jinja2 = pytest.importorskip("jinja2")
    template = jinja2.Template(metadata["tokenizer.chat_template"])
    conversation = [{"role": "user", "content": "Why?"}]

    prompt = template.render(messages=conversation, add_generation_prompt=True)
    whole = template.render(messages=[*conversation, {"role": "assistant", "content": "So."}])

    assert pairs.chat("Why?", "So.") == whole + corpus.END
    assert whole.startswith(prompt)


@pytest.mark.parametrize("spm", [False, True])
def test_reordering_for_fill_in_the_middle_keeps_every_character(spm: bool) -> None:
    for seed in range(50):
        text = corpus.fim(SOURCE, random.Random(seed), spm=spm)
        assert text.endswith(corpus.END)
        markers = "|".join(
            re.escape(m) for m in (corpus.FIM_PREFIX, corpus.FIM_SUFFIX, corpus.FIM_MIDDLE)
        )
        parts = re.split(f"({markers})", text.removesuffix(corpus.END))
        found = dict(zip(parts[1::2], parts[2::2], strict=True))
        rebuilt = found[corpus.FIM_PREFIX] + found[corpus.FIM_MIDDLE] + found[corpus.FIM_SUFFIX]
        assert rebuilt == SOURCE
        assert (text.index(corpus.FIM_SUFFIX) < text.index(corpus.FIM_PREFIX)) is spm


@pytest.mark.parametrize("cut", [corpus.line_chunks, corpus.prompt_cuts])
def test_cutting_a_document_loses_nothing(cut: Any) -> None:
    for seed in range(20):
        assert "".join(cut(SOURCE * 9, random.Random(seed))) == SOURCE * 9


def test_a_file_stays_on_its_side_of_the_split() -> None:
    names = [f"package/module_{i}.py" for i in range(4000)]
    held_out = [name for name in names if corpus.is_held_out(name)]

    assert held_out == [name for name in names if corpus.is_held_out(name)]
    assert 0.02 < len(held_out) / len(names) < 0.04
    assert corpus.is_held_out("re/_compiler.py")
    assert not corpus.is_held_out("shapes.py")


def test_the_corpus_hash_sees_names_and_texts_but_not_their_order() -> None:
    first, second = document("a.py", "x = 1\n"), document("b.py", "y = 2\n")

    assert corpus.sha256([first, second]) == corpus.sha256([second, first])
    assert corpus.sha256([first]) != corpus.sha256([second])
    assert corpus.sha256([first]) != corpus.sha256([document("a.py", "x = 2\n")])


def test_reading_a_folder_skips_duplicates_tables_and_what_does_not_parse(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(SOURCE)
    (tmp_path / "same_again.py").write_text(SOURCE + "\n")
    (tmp_path / "broken.py").write_text(SOURCE + "def (:\n")
    (tmp_path / "table.py").write_text(f"TABLE = {list(range(1000))}\n")
    (tmp_path / "encodings").mkdir()
    (tmp_path / "encodings" / "cp0.py").write_text(SOURCE.replace("Circle", "Table"))

    assert [d.name for d in corpus.read(tmp_path)] == ["good.py"]


def test_questions_come_from_docstrings_and_answers_with_code_parse() -> None:
    found = list(pairs.from_document(document(), random.Random(0)))

    assert len(found) == 3  # the class, the method, and writing the method
    assert all(text.startswith(f"{corpus.IM_START}user\n") for text in found)
    assert all(text.endswith(f"{corpus.IM_END}\n{corpus.END}") for text in found)
    assert sum("A circle around the origin." in text for text in found) == 1
    (written,) = [text for text in found if "```python\n" in text]
    code = written.split("```python\n")[1].split("\n```")[0]
    assert ast.parse(code).body[0].name == "area"  # type: ignore[attr-defined]


def test_an_epoch_is_the_same_for_the_same_seed_and_another_for_the_next() -> None:
    documents = [document(f"m{i}.py", SOURCE.replace("Circle", f"C{i}")) for i in range(30)]
    exchanges = pairs.all_pairs(documents, seed=1)

    def epoch(number: int) -> list[corpus.Sample]:
        return corpus.samples(documents, exchanges, mix=corpus.Mix(), seed=1, epoch=number)

    assert epoch(0) == epoch(0)
    assert epoch(0) != epoch(1)
