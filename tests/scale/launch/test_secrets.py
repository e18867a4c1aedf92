"""No key and no token is in anything that is rendered, printed, or carried away as a file."""

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scale.launch.wanted import deployment, plan
from umad.errors import BadRequest
from umad.scale.launch import keys, sky_task
from umad.scale.launch.box_files import box_files
from umad.scale.launch.scrubbing import HIDDEN, scrubbed


def test_a_task_and_its_files_have_names_of_secrets_and_no_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = keys.make(("alice", "bob"))
    monkeypatch.setenv("HF_TOKEN", "hf_verysecrettoken")
    wanted = deployment(plan=plan("meta-llama/Llama-3.1-8B-Instruct", "L40S:1"))

    text = sky_task.render(wanted, folder="/f") + "".join(box_files(wanted).values())

    assert "HF_TOKEN: null" in text
    for word in (*made.values(), *map(keys.digest, made.values()), "hf_verysecrettoken"):
        assert word not in text


def test_a_machine_gets_digests_from_which_no_key_follows() -> None:
    made = keys.make(("alice", "bob"))

    text = keys.digests(made)

    assert not [key for key in made.values() if key in text]
    header = f"Bearer {made['alice']}".encode()
    assert f"{hashlib.sha256(header).hexdigest()} alice\n" in text


def test_keys_are_long_and_each_time_others() -> None:
    one, other = keys.make(("a",))["a"], keys.make(("a",))["a"]

    assert one != other
    assert len(one) >= 43  # 256 bits


@pytest.mark.parametrize("names", [(), ("a", "a"), ("A",), ("a b",), ("",), ('a"b',)])
def test_names_of_keys_are_plain_words(names: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest):
        keys.make(names)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=12, max_size=60))
def test_a_secret_is_taken_out_in_every_form_in_which_programs_print_it(secret: str) -> None:
    said = json.dumps({"secrets": {"KEY": secret}})
    text = f"{secret} {said} {base64.b64encode(secret.encode()).decode()}"

    clean = scrubbed(text, [secret])

    assert secret not in clean
    assert json.dumps(secret)[1:-1] not in clean
    assert HIDDEN in clean


def test_a_line_of_a_secret_is_a_secret() -> None:
    made = keys.make(("alice", "bob"))
    digests = keys.digests(made)
    line = digests.splitlines()[1]

    # As YAML prints a text of several lines, and as a shell shows one of them.
    assert keys.digest(made["bob"]) not in scrubbed(f"- {line.split()[0]}", [digests])
    assert scrubbed("nothing here", [digests]) == "nothing here"
