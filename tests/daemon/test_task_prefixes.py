"""What is put before texts, by the task that a request names and the model that is asked."""

from pathlib import Path

import pytest

from umad.daemon.task_prefixes import TaskPrefixes
from umad.embedding import EmbedRequest, task_named
from umad.errors import BadRequest
from umad.models.catalogue import Catalogue, CatalogueEntry
from umad.models.files import ModelFiles
from umad.models.found import FoundModel
from umad.models.library import Library
from umad.models.places.listing import Listing

FILE = Path("/models/fox-embed.Q8_0.gguf")
FOX = CatalogueEntry(
    name="fox-embed:v2",
    repository="den/Fox-Embed-v2-GGUF",
    does=("embed",),
    purpose="Sniffs.",
    parameters="1B",
    context_tokens=2048,
    licence="mit",
    prefixes={"query": "seek: ", "document": ""},
)


class _Shelf:
    """A place with one model of a known source."""

    def __init__(self, source: str) -> None:
        self._source = source

    def find(self) -> Listing:
        model = FoundModel(
            name="fox", files=ModelFiles(parts=(FILE,)), place="folder", source=self._source
        )
        return Listing(models=(model,), watched=())


def prefixes(source: str = "", **own: dict[str, str]) -> TaskPrefixes:
    catalogue = Catalogue(entries={FOX.name: FOX}, prefixes=own)
    return TaskPrefixes(Library([_Shelf(source)], catalogue=catalogue))


def prefix(known: TaskPrefixes, task: str | None, *, name: str = "fox", title: str = "") -> str:
    request = EmbedRequest(inputs=("a",), task=task)
    return known.of(request, name=name, path=FILE, title=title)


def test_without_a_task_nothing_is_put_before_a_text() -> None:
    assert prefix(prefixes(), None, name="anything") == ""


@pytest.mark.parametrize(
    ("source", "name", "title"),
    [
        ("", "fox-embed:v2", ""),
        ("", "Fox-Embed:V2", ""),
        ("hf:den/fox-embed-v2-gguf:Q8_0", "fox", ""),
        ("", "fox", "Fox Embed v2"),
        ("no: source", "fox", "fox-embed-v2"),
    ],
)
def test_a_model_is_known_by_its_name_by_its_source_or_by_its_makers_name(
    source: str, name: str, title: str
) -> None:
    known = prefixes(source)

    assert prefix(known, "query", name=name, title=title) == "seek: "
    assert prefix(known, "document", name=name, title=title) == ""


def test_what_the_user_wrote_for_a_name_counts_more() -> None:
    known = prefixes("hf:den/Fox-Embed-v2-GGUF:Q8_0", fox={"query": "mine: "})

    assert prefix(known, "query") == "mine: "
    with pytest.raises(BadRequest, match="fox has no task 'document'; it has query"):
        prefix(known, "document")


def test_a_model_that_nobody_has_described_is_refused_with_what_to_do() -> None:
    with pytest.raises(BadRequest, match="prefixes") as refused:
        prefix(prefixes(), "query", title="Another Model")

    assert refused.value.field == "task"
    with pytest.raises(BadRequest):
        prefix(TaskPrefixes(None), "query")


@pytest.mark.parametrize(
    ("written", "task"),
    [
        ("query", "query"),
        ("search_query", "query"),
        ("RETRIEVAL_QUERY", "query"),
        ("retrieval.query", "query"),
        ("retrieval.passage", "document"),
        ("passage", "document"),
        ("SEMANTIC_SIMILARITY", "similarity"),
        ("text-matching", "similarity"),
        ("CODE_RETRIEVAL_QUERY", "code"),
        ("QUESTION_ANSWERING", "question"),
        ("FACT_VERIFICATION", "facts"),
        ("separation", "clustering"),
        ("Bug reports", "bug reports"),
    ],
)
def test_a_task_has_one_meaning_however_it_is_written(written: str, task: str) -> None:
    assert task_named(written) == task
