"""`base+adapter@scale` as users write it, and the names of sessions under adapters."""

import itertools

import pytest

from umad.adapters import MOST_ADAPTERS, AdapterChoice, parted, split_name, written
from umad.errors import BadRequest
from umad.forgetting import ForgetScope
from umad.request import GenerateRequest
from umad.session_names import asked_name, kept_name


@pytest.mark.parametrize(
    ("name", "base", "adapters"),
    [
        ("nano", "nano", []),
        ("nano+pirate", "nano", [("pirate", 1.0)]),
        ("qwen3:4b+pirate@0.5", "qwen3:4b", [("pirate", 0.5)]),
        ("nano+a@-1+b@1e-3", "nano", [("a", -1.0), ("b", 0.001)]),
        ("nano+pirate@lm-studio", "nano", [("pirate@lm-studio", 1.0)]),
        ("nano+pirate@lm-studio@2", "nano", [("pirate@lm-studio", 2.0)]),
        ("nano+hf:org/repo:Q8_0@0", "nano", [("hf:org/repo:Q8_0", 0.0)]),
        ("nano+@2", "nano", [("@2", 1.0)]),
    ],
)
def test_a_name_is_taken_apart(name: str, base: str, adapters: list[tuple[str, float]]) -> None:
    wanted = tuple(AdapterChoice(name=one, scale=scale) for one, scale in adapters)
    assert split_name(name) == (base, wanted)
    assert parted(name)[0] == base


def test_a_name_is_written_as_it_is_read() -> None:
    for name, scale in (("pirate", 1.0), ("pirate", 0.5), ("pirate", -2.0), ("a@b", 1.0)):
        (one,) = split_name(f"nano+{written(name, scale)}")[1]
        assert (one.name, one.scale) == (name, scale)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nano+", "names no model"),
        ("+pirate", "names no model"),
        ("nano++pirate", "names no model"),
        ("nano+a+a@2", "named twice"),
        ("nano+a@101", "from -100 to 100"),
        ("nano+a@nan", "from -100 to 100"),
        ("nano+a@inf", "from -100 to 100"),
        ("nano" + "".join(f"+a{at}" for at in range(MOST_ADAPTERS + 1)), "at most 8"),
    ],
)
def test_a_name_that_means_nothing_is_refused_by_its_field(name: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        split_name(name)
    assert caught.value.field == "model"


def test_a_list_is_checked_like_a_name() -> None:
    twice = (AdapterChoice(name="a"), AdapterChoice(name="a", scale=2.0))
    with pytest.raises(BadRequest, match="named twice") as caught:
        GenerateRequest(prompt="x", lora=twice).check()
    assert caught.value.field == "lora"
    with pytest.raises(BadRequest, match="a name or a number"):
        GenerateRequest(prompt="x", lora=(AdapterChoice(name=""),)).check()


def test_no_two_sessions_and_sets_are_kept_under_one_name() -> None:
    sessions = ("s", "s\x01", "s\x01k", "k", "")
    kept = [kept_name(*pair) for pair in itertools.product(sessions, ("", "k", "k2"))]
    assert len(set(kept)) == len(kept)
    assert kept_name(None, "k") is None
    assert kept_name("s", "") == "s"


def test_whoever_forgets_a_session_means_it_under_every_adapter() -> None:
    scope = ForgetScope(session="s")
    assert scope.takes(kept_name("s", "k"), "")
    assert scope.takes("s", "")
    assert not scope.takes(kept_name("sk", ""), "")
    assert not scope.takes(None, "")
    assert scope.takes_file(kept_name("s", "k") or "")
    mine = ForgetScope(owner="o", prefix="o\x00")
    assert mine.takes_file(kept_name("o\x00s", "k") or "")
    assert asked_name(kept_name("s\x01k", "") or "") == "s\x01k"
