"""Prompts with marks in the places of images and sounds: read, and over a real gateway."""

from typing import Any

import pytest

from tests.e2e.test_media import ROWS, photo
from tests.gateway.gateways import LiveGateway
from tests.gateway.media.seeing import base64_of, posted
from tests.media.pictures import recorded, tone
from umad.content import pieces_of
from umad.errors import BadRequest
from umad.gateway.marked_prompts import ANNOUNCED_MARK, DEFAULT_MARK, marked_prompt

PNG, WAV = photo(1), recorded(tone(16_000), 16_000)


def pieces(text: str, *files: bytes) -> list[str]:
    data = [base64_of(one) for one in files]
    found = marked_prompt({"prompt_string": text, "multimodal_data": data}, "prompt")
    return [one if isinstance(one, str) else one.kind for one in pieces_of(found.text, found.media)]


@pytest.mark.parametrize("mark", [DEFAULT_MARK, ANNOUNCED_MARK], ids=["default", "announced"])
def test_files_stand_at_the_marks_in_their_order_each_of_its_kind(mark: str) -> None:
    assert pieces(f"a{mark}b{mark}", PNG, WAV) == ["a", "image", "b", "audio"]
    assert pieces(mark, WAV) == ["audio"]


def test_where_the_announced_mark_is_written_another_one_is_text() -> None:
    text = f"{DEFAULT_MARK} said a user. {ANNOUNCED_MARK}"

    assert pieces(text, PNG) == [f"{DEFAULT_MARK} said a user. ", "image"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"prompt_string": "no mark"}, "multimodal_data"),
        ({"prompt_string": DEFAULT_MARK * 2}, "multimodal_data"),
        ({"prompt_string": [1, 2]}, "prompt_string"),
        ({"prompt_string": None}, "prompt_string"),
        ({"prompt_string": DEFAULT_MARK, "multimodal_data": "aGk="}, "multimodal_data"),
    ],
)
def test_marks_and_files_that_do_not_fit_are_refused(given: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        marked_prompt({"multimodal_data": ["aGk="], **given}, "prompt.1")

    assert refused.value.field == f"prompt.1.{field}"


def marked(data: bytes, mark: str = DEFAULT_MARK) -> dict[str, Any]:
    return {"prompt_string": f"See {mark} here", "multimodal_data": [base64_of(data)]}


@pytest.mark.parametrize("path", ["/completion", "/v1/completions"])
def test_a_prompt_with_an_image_is_continued_and_its_rows_count(
    seeing: LiveGateway, path: str
) -> None:
    def n_prompt(prompt: Any) -> int:
        answer = posted(seeing, path, {"prompt": prompt, "n_predict": 2})
        assert answer.status_code == 200, answer.text
        said = answer.json()
        return int(said.get("tokens_evaluated") or said["usage"]["prompt_tokens"])

    with seeing.http() as http:
        mark = http.get("/props").json()["media_marker"]

    assert n_prompt(marked(PNG)) >= n_prompt("See  here") + ROWS
    assert n_prompt(marked(PNG, mark)) == n_prompt(marked(PNG))


def test_an_answer_shows_its_prompt_as_it_was_written(seeing: LiveGateway) -> None:
    body = {"prompt": [marked(PNG), "only text"], "n_predict": 2}

    answers = posted(seeing, "/completion", body).json()

    assert [one["prompt"] for one in answers] == [f"See {DEFAULT_MARK} here", "only text"]


def test_a_sound_in_a_prompt_is_heard(hearing: LiveGateway) -> None:
    answer = posted(hearing, "/completion", {"prompt": marked(WAV), "n_predict": 2})

    assert answer.status_code == 200, answer.text
    assert answer.json()["tokens_evaluated"] > 50


def test_a_broken_image_of_several_prompts_is_refused_by_its_own_place(
    seeing: LiveGateway,
) -> None:
    body = {"prompt": ["text", marked(PNG[:300]), marked(PNG)], "n_predict": 2}

    answer = posted(seeing, "/completion", body)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "prompt.1.multimodal_data.0"


@pytest.mark.parametrize("more", [{"echo": True}, {"suffix": "x"}, {"max_tokens": 0}])
def test_what_reads_a_prompt_as_text_alone_is_refused_beside_an_image(
    seeing: LiveGateway, more: dict[str, Any]
) -> None:
    answer = posted(seeing, "/v1/completions", {"prompt": marked(PNG), **more})

    assert (answer.status_code, answer.json()["error"]["param"]) == (501, *more)


def test_a_chat_is_rendered_with_a_mark_that_completion_takes(seeing: LiveGateway) -> None:
    url = f"data:image/png;base64,{base64_of(PNG)}"
    chat = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]

    prompt = posted(seeing, "/apply-template", {"messages": chat}).json()["prompt"]

    assert prompt.count(DEFAULT_MARK) == 1
    body = {"prompt": {"prompt_string": prompt, "multimodal_data": [base64_of(PNG)]}}
    assert posted(seeing, "/completion", {**body, "n_predict": 2}).status_code == 200
