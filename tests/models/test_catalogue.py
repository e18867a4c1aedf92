"""The models that umad knows by short names, and the user's own on top."""

import re
from pathlib import Path

import pytest

from umad.errors import BadConfig, UnknownModel
from umad.models.catalogue import Catalogue
from umad.models.catalogue_file import read_catalogue, shipped, with_users
from umad.models.reference import parse

FOX = """
models:
  fox:3b:
    repository: org/Fox-3B-GGUF
    does: [chat]
    for: Jumps.
    parameters: 3B
    context: 4096
    licence: mit
"""


def test_the_catalogue_that_ships_has_models_of_every_size_and_purpose() -> None:
    entries = shipped().entries

    assert 25 <= len(entries) <= 60
    skills = {skill for one in entries.values() for skill in one.does}
    assert skills >= {"chat", "code", "fill in", "see", "hear", "embed", "rerank", "tools", "think"}


@pytest.mark.parametrize("name", shipped().entries)
def test_an_entry_can_be_fetched_and_says_what_a_person_wants_to_know(name: str) -> None:
    entry = shipped().entries[name]

    reference = parse(str(entry.reference()))

    assert reference.kind == "hub"
    assert reference.repository == entry.repository
    assert parse(name).kind == "catalogue"
    assert re.fullmatch(r"[\d.]+[MB]", entry.parameters)
    assert entry.context_tokens >= 2048
    assert entry.purpose.endswith(".")
    assert len(entry.purpose) < 80


def test_a_name_that_does_not_exist_names_near_ones() -> None:
    with pytest.raises(UnknownModel, match=r"near are .*qwen3-coder:30b"):
        shipped().entry("qwen3-coder:33b")


def test_a_family_with_several_sizes_is_refused_with_them() -> None:
    with pytest.raises(UnknownModel, match=r"gpt-oss:20b or gpt-oss:120b; say which"):
        shipped().entry("gpt-oss")


def test_a_family_with_one_size_means_it() -> None:
    assert shipped().entry("BGE-M3").name == "bge-m3:567m"


def test_a_search_finds_by_name_skill_and_purpose() -> None:
    found = [one.name for one in shipped().search("code fill")]

    assert "qwen2.5-coder:7b" in found
    assert "gemma4:31b" not in found


def test_the_users_entries_stand_before_those_that_ship(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(
        FOX
        + """
  qwen3-coder:30b:
    repository: me/Mine-GGUF
    does: [code]
    for: Mine.
    parameters: 30B
    context: 1000
    licence: mit
    quantization: q8_0
aliases: {coder: "qwen3-coder:30b"}
presets:
  reviewer:
    model: coder
    system: Be brief.
    sampling: {temperature: 0.2, stop: [END]}
    lane: background
"""
    )

    known = with_users(shipped(), path)

    assert next(iter(known.entries)) == "fox:3b"
    assert str(known.entries["qwen3-coder:30b"].reference()) == "hf:me/Mine-GGUF:Q8_0"
    assert "gpt-oss:20b" in known.entries
    assert known.aliases == {"coder": "qwen3-coder:30b"}
    assert known.presets["reviewer"].sampling == {"temperature": 0.2, "stop": ("END",)}
    assert (known.presets["reviewer"].system, known.presets["reviewer"].lane) == (
        "Be brief.",
        "background",
    )


def test_one_text_to_stop_at_is_one_and_not_its_letters() -> None:
    known = read_catalogue("presets: {a: {model: m, sampling: {stop: END}}}", "x")

    assert known.presets["a"].sampling == {"stop": ("END",)}


def test_names_of_the_users_own_have_no_case() -> None:
    known = read_catalogue("aliases: {Coder: fox}\npresets: {Review: {model: fox}}", "x")

    assert (known.meant("coder"), known.meant("CODER"), known.meant("fox")) == ("fox", "fox", None)
    assert known.preset("review") == known.presets["Review"]
    assert known.preset("coder") is None


def test_without_a_file_of_the_users_the_catalogue_is_the_one_that_ships(tmp_path: Path) -> None:
    assert with_users(shipped(), tmp_path / "models.yaml") is shipped()
    assert read_catalogue("", "x") == Catalogue()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models: [", "x:"),
        ("[" * 1500, "nested too deeply"),
        ("modells: {}", "x:1: the file: unknown key 'modells'; did you mean 'models'"),
        ("models: [a]", "x:1: models wants a map"),
        (FOX.replace("licence", "license"), r"x:4: models.fox:3b: unknown key 'license'"),
        (FOX.replace("    licence: mit\n", ""), "models.fox:3b has no 'licence'"),
        (FOX.replace("4096", "-1"), "x:8: models.fox:3b.context wants a whole number"),
        (FOX.replace("[chat]", "[chta]"), "unknown key 'chta'; did you mean 'chat'"),
        (FOX.replace("[chat]", "chat"), "wants a list"),
        (FOX.replace("org/Fox-3B-GGUF", "Fox"), "models.fox:3b: 'hf:"),
        (FOX.replace("fox:3b:", "fox/3b:"), "models.fox/3b"),
        (FOX + "    sampling: {temperature: hot}\n", "sampling.temperature: a number is wanted"),
        (FOX + "    sampling: {temperature: [1]}\n", "sampling.temperature: a number is wanted"),
        (FOX + "    sampling: {temperature: true}\n", "sampling.temperature: a number is wanted"),
        (FOX + "    sampling: {top_k: 2.5}\n", "sampling.top_k: a whole number is wanted"),
        (FOX + "    sampling: {ignore_eos: 1}\n", "sampling.ignore_eos: true or false is wanted"),
        (FOX + "    sampling: {stop: 7}\n", "sampling.stop: a text or a list of texts is wanted"),
        (FOX + "    sampling: {stop: [7]}\n", "sampling.stop: a text or a list of texts is want"),
        (FOX + "    sampling: {temperature: !hot 1}\n", "x:10: a value is a number, a text"),
        (FOX + "    sampling: {seed: 2026-13-45}\n", "x:10: a value is a number, a text"),
        (FOX + "    sampling: {stop: &a [*a]}\n", "x:10: a value is a number, a text"),
        (FOX + "    sampling: {seed: !!bool maybe}\n", "x:10: a value is a number, a text"),
        (FOX + "    sampling: {seed: !!timestamp soon}\n", "x:10: a value is a number, a text"),
        (FOX.replace("4096", "!big 1"), "x:8: a value is a number, a text"),
        (FOX + "    sampling: {temperature: -1}\n", "temperature must be between 0 and 100"),
        (FOX + "    sampling: {temprature: 1}\n", "did you mean 'temperature'"),
        ("presets: {a: {system: x}}", "presets.a has no 'model'"),
        ("aliases: {a: b, a: c}", "'a' is there twice"),
        ("aliases: {a: [b]}", "aliases.a wants a text"),
        ("aliases: {a: }", "aliases.a names no model"),
        ("presets: {a: {model: ''}}", "presets.a.model names no model"),
    ],
)
def test_a_slip_of_the_pen_is_named_with_its_line_and_the_nearest_key(
    text: str, words: str
) -> None:
    with pytest.raises(BadConfig, match=words) as caught:
        read_catalogue(text, "x")

    assert "\n" not in caught.value.message


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(FOX)
    path.chmod(0o666)

    with pytest.raises(BadConfig, match="others may write"):
        with_users(shipped(), path)


# -- what is put before texts that are embedded ----------------------------------------------------


def test_every_model_that_embeds_says_what_its_card_puts_before_questions_and_documents() -> None:
    for entry in shipped().entries.values():
        if "embed" in entry.does:
            assert entry.prefixes is not None, entry.name
            assert {"query", "document"} <= entry.prefixes.keys(), entry.name

    assert shipped().entries["nomic-embed-text:v1.5"].prefixes == {
        "query": "search_query: ",
        "document": "search_document: ",
        "clustering": "clustering: ",
        "classification": "classification: ",
    }
    qwen = shipped().entries["qwen3-embedding:0.6b"].prefixes
    assert qwen is not None
    assert qwen["query"].endswith("that answer the query\nQuery:")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Nomic Embed Text v1.5", "nomic-embed-text:v1.5"),
        ("nomic-embed-text-v1.5", "nomic-embed-text:v1.5"),
        ("Qwen3 Embedding 0.6B", "qwen3-embedding:0.6b"),
        ("Bge M3", "bge-m3:567m"),
        ("nomic-embed-text-v2-moe", None),
        ("", None),
        ("---", None),
    ],
)
def test_a_model_is_known_by_the_name_that_its_maker_wrote_into_the_file(
    title: str, name: str | None
) -> None:
    entry = shipped().titled(title)

    assert (None if entry is None else entry.name) == name


def test_the_users_prefixes_are_kept_to_the_last_blank(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text('prefixes: {My-E5: {RETRIEVAL_QUERY: "query: ", passage: , bugs: "Bug: "}}')

    known = with_users(shipped(), path)

    assert known.prefixes == {"My-E5": {"query": "query: ", "document": "", "bugs": "Bug: "}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prefixes: {a: {query: [x]}}", "x:1: prefixes.a.query wants a text"),
        ("prefixes: {a: b}", "prefixes.a wants a map"),
        ("prefixes: {a: {passage: x, document: y}}", "'document' is there twice, under two names"),
        (f"prefixes: {{a: {{query: {'x' * 3000}}}}}", "more than 2048 characters"),
    ],
)
def test_a_slip_in_prefixes_is_named(text: str, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        read_catalogue(text, "x")
