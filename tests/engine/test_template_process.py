"""A template is a program out of a file somebody downloaded: whatever it does, it ends."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest

from umad.engine.chats.template_process import GIVE_UP, TemplateProcess
from umad.engine.chats.template_program import TemplateFailed

RUN_S = 0.3
HOSTILE = {
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in "
    "range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}"
    "{% endif %}{% endmacro %}{{ f(200) }}",
    "a number squared again and again": "{% set s = namespace(n=3) %}{% for a in range(64) %}"
    "{% set s.n = s.n * s.n %}{% endfor %}",
    "a text doubled again and again": "{% set s = namespace(t='a') %}{% for a in range(64) %}"
    "{% set s.t = s.t ~ s.t %}{% endfor %}",
    "a constant of a terabyte": "{{ 'a' | center(1099511627776) }}",
    "a format of a terabyte": "{{ '%1099511627776d' % 1 }}",
}
Run = Callable[[str], TemplateProcess]


@pytest.fixture
def run() -> Iterator[Run]:
    made: list[TemplateProcess] = []

    def start(source: str) -> TemplateProcess:
        made.append(TemplateProcess(source, run_s=RUN_S))
        return made[-1]

    yield start
    for one in made:
        one.close()


def running() -> list[int]:
    """The processes of templates that live now, all of them children of this one."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one, to psutil
            if "umad.engine.chats.template_child" in child.cmdline():
                found.append(child.pid)
    return found


@pytest.mark.parametrize("what", HOSTILE)
def test_a_template_without_an_end_is_ended(run: Run, what: str) -> None:
    with pytest.raises(TemplateFailed) as caught:
        run(HOSTILE[what]).render({"messages": []})

    assert "template" in str(caught.value)


def test_it_costs_its_own_request_and_the_next_one_is_rendered(run: Run) -> None:
    source = "{% if loops %}" + HOSTILE["loops in loops"] + "{% endif %}<s>{{ text }}"
    template = run(source)

    assert template.render({"text": "before é \ud800"}) == "<s>before é \ud800"
    with pytest.raises(TemplateFailed, match=r"did not end within 0\.3 s"):
        template.render({"text": "x", "loops": True})
    assert template.render({"text": "after"}) == "<s>after"


def test_a_template_that_never_ends_is_given_up(run: Run) -> None:
    template = run(HOSTILE["loops in loops"])
    for _ in range(GIVE_UP):
        with pytest.raises(TemplateFailed, match="did not end within"):
            template.render({})

    with pytest.raises(TemplateFailed, match="send a prompt instead"):
        template.render({})
    assert not running(), "nothing could run it"


def test_a_process_that_was_killed_is_followed_by_another(run: Run) -> None:
    template = run("{{ text }}")
    assert template.render({"text": "one"}) == "one"
    (child,) = running()
    os.kill(child, signal.SIGKILL)

    with pytest.raises(TemplateFailed, match="could not be run"):
        template.render({"text": "two"})
    assert template.render({"text": "three"}) == "three"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{% for %}", "cannot be read"),
        ("{{ raise_exception('user first') }}", "refuses these messages: user first"),
        ("{{ messages.0.x.y }}", "refuses these messages"),
        ("{{ ''.__class__.__mro__ }}", "refuses these messages"),
        ("{{ 1 / 0 }}", "fails on these messages"),
        ("{{ 'a' * 10000000 }}", "repeated too often"),
    ],
)
def test_what_is_wrong_is_said_as_it_would_be_in_the_engine(
    run: Run, source: str, says: str
) -> None:
    with pytest.raises(TemplateFailed, match=says):
        run(source).render({"messages": []})


def test_values_that_are_no_json_are_the_messages_fault(run: Run) -> None:
    with pytest.raises(TemplateFailed, match="cannot be written as JSON"):
        run("{{ x }}").render({"x": b"bytes"})


def test_a_long_conversation_comes_through_whole(run: Run) -> None:
    messages = [{"role": "user", "content": "long " * 200} for _ in range(2000)]

    text = run("{% for m in messages %}{{ m.content }}|{% endfor %}").render({"messages": messages})

    assert text == "".join(f"{one['content']}|" for one in messages)


def test_chats_that_are_rendered_at_the_same_time_get_their_own_text(run: Run) -> None:
    process = run("{% for at in range(2000) %}{% endfor %}{{ who }}")
    got: dict[str, list[str]] = {}

    def ask(who: str) -> None:
        got[who] = [process.render({"who": f"{who} {at}"}) for at in range(100)]

    threads = [threading.Thread(target=ask, args=(f"user{at}",)) for at in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)

    assert got == {f"user{at}": [f"user{at} {n}" for n in range(100)] for at in range(4)}
