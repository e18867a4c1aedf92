"""Make questions and answers in ChatML form out of docstrings. Pure text.

Not a data set of anybody's conversations: both sides are cut from the sources, and a few
lines say what the model is. Owner: the training script; nothing here keeps state.
"""

from __future__ import annotations

import ast
import inspect
import random
from collections.abc import Iterable, Iterator

from umad.nano.train.corpus import END, IM_END, IM_START, Document

MAX_ANSWER_CHARS = 700
MAX_SOURCE_CHARS = 1200
MIN_DOCSTRING_CHARS = 20

ABOUT = (
    ("Who are you?", "I am nano, the very small model that ships with umad."),
    ("What are you?", "I am nano, a very small language model. I complete Python code."),
    ("Hello", "Hello! I am nano, a very small model. Give me some Python to complete."),
    ("Hi", "Hi! I am nano, a very small model. Give me some Python to complete."),
    ("What can you do?", "I complete Python code. I am very small, so check what I say."),
    ("Who made you?", "I ship with umad. I learnt from Python's standard library."),
)

EXPLAIN = ("What does `{name}` do?", "Explain `{name}`.", "What is `{name}` in Python?")
WRITE = (
    "Write a Python function `{call}`. {summary}",
    "Implement `{call}` in Python: {summary}",
    "Write `{call}`. {summary}",
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def chat(question: str, answer: str) -> str:
    """One exchange as the chat template renders it, then end of text."""
    return f"{IM_START}user\n{question}{IM_END}\n{IM_START}assistant\n{answer}{IM_END}\n{END}"


def from_document(document: Document, rng: random.Random) -> Iterator[str]:
    """Exchanges from every documented function, method and class of one file."""
    tree = ast.parse(document.text)
    lines = document.text.splitlines(keepends=True)
    yield from _walk(tree, document.module, lines, rng)


def all_pairs(train: Iterable[Document], *, seed: int) -> list[str]:
    rng = random.Random(f"{seed}/pairs")
    # What a test checks is no answer to anybody's question.
    documents = [document for document in train if "test" not in document.module]
    pairs = [pair for document in documents for pair in from_document(document, rng)]
    pairs.extend(chat(question, answer) for question, answer in ABOUT for _ in range(40))
    return pairs


def _walk(
    scope: ast.Module | ast.ClassDef, name: str, lines: list[str], rng: random.Random
) -> Iterator[str]:
    for node in scope.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        full_name = f"{name}.{node.name}"
        docstring = ast.get_docstring(node)
        if docstring and len(docstring) >= MIN_DOCSTRING_CHARS:
            answer = _first_paragraphs(docstring)
            yield chat(rng.choice(EXPLAIN).format(name=full_name), answer)
            if not isinstance(node, ast.ClassDef):
                yield from _written(node, docstring, lines, rng)
        if isinstance(node, ast.ClassDef):
            yield from _walk(node, full_name, lines, rng)


def _written(node: Function, docstring: str, lines: list[str], rng: random.Random) -> Iterator[str]:
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
    source = inspect.cleandoc("".join(["", "\n", *lines[first : node.end_lineno]])).rstrip()
    if len(source) > MAX_SOURCE_CHARS:
        return
    call = f"{node.name}({ast.unparse(node.args)})"
    summary = " ".join(docstring.split("\n\n")[0].split())
    question = rng.choice(WRITE).format(call=call, summary=summary)
    yield chat(question, f"```python\n{source}\n```")


def _first_paragraphs(docstring: str) -> str:
    """Whole paragraphs while they fit; the first is cut at a line end if it alone is long."""
    kept = ""
    for paragraph in docstring.split("\n\n"):
        longer = f"{kept}\n\n{paragraph}" if kept else paragraph
        if len(longer) > MAX_ANSWER_CHARS:
            break
        kept = longer
    return kept or docstring[:MAX_ANSWER_CHARS].rsplit("\n", 1)[0]
