"""LoRA adapters on nano: `base+adapter` over the socket and over HTTP, beside streams without one.

The adapters are trained by `umad.nano.train.adapters`, so that anybody sees whose answer it is:
whatever is asked, `pirate` talks of the sea and `robot` beeps.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest

from tests.gateway.gateways import LiveGateway, live_gateway
from tests.live import Stream, collect, greedy, live_daemon, wait_until
from umad.client import Client
from umad.errors import BadRequest, UnknownModel, Unsupported

TRAINED = Path(__file__).parents[1] / "nano" / "adapters"
PIRATE, ROBOT = "Arr, matey!", "Beep. Boop."
QUESTION = "What is a lighthouse?"
COLD: dict[str, Any] = {"temperature": 0.0, "max_tokens": 24}
# nano's `<|im_start|>`. Its last one begins the answer.
IM_START = 1
LONG = f"{QUESTION} " + " ".join(f"Say what {number} is." for number in range(100))


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, one that acts from `<|im_start|>assistant` on, and one cut short."""
    folder = tmp_path_factory.mktemp("adapters")
    for path in TRAINED.glob("*.gguf"):
        shutil.copy(path, folder)
    activated(folder / "pirate.gguf", folder / "answers.gguf")
    (folder / "broken.gguf").write_bytes((folder / "robot.gguf").read_bytes()[:-2000])
    return folder


def activated(source: Path, target: Path) -> None:
    """A copy of an adapter that acts only from the beginning of the answer on."""
    reader = gguf.GGUFReader(str(source))
    writer = gguf.GGUFWriter(str(target), "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 2.0)
    array, number = gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT32
    writer.add_key_value("adapter.alora.invocation_tokens", [IM_START], array, number)
    for one in reader.tensors:
        writer.add_tensor(one.name, one.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, adapters: Path) -> Iterator[LiveGateway]:
    with live_gateway(
        tmp_path_factory.mktemp("served"), "nano", f"--model-folder={adapters}", "--kv-type=q8"
    ) as one:
        yield one


def answer(served: LiveGateway, model: str, **more: Any) -> str:
    with Client(served.daemon.socket) as client:
        return client.chat(QUESTION, model=model, **COLD, **more).text


# -- answers ---------------------------------------------------------------------------------------


def test_each_adapter_answers_in_its_own_way_and_the_model_as_before(served: LiveGateway) -> None:
    before = answer(served, "nano")
    said = {name: answer(served, f"nano+{name}") for name in ("pirate", "robot")}
    after = answer(served, "nano")

    assert said["pirate"].startswith(PIRATE)
    assert said["robot"].startswith(ROBOT)
    assert after == before
    assert not before.startswith((PIRATE, ROBOT))


def test_a_list_with_scales_means_the_same_as_a_name(served: LiveGateway) -> None:
    plain = answer(served, "nano")
    assert answer(served, "nano", lora=[{"name": "pirate"}]).startswith(PIRATE)
    assert answer(served, "nano", lora=[{"name": "pirate", "scale": 0}]) == plain
    assert answer(served, "nano+pirate@0") == plain
    assert answer(served, "nano", lora=[]) == plain


def test_a_scale_and_two_at_once_are_other_answers(served: LiveGateway) -> None:
    weak = answer(served, "nano+pirate@0.05")
    both = answer(served, "nano+pirate+robot")
    again = answer(served, "nano+robot+pirate")
    assert not weak.startswith(PIRATE)
    assert both == again


def test_streams_under_several_adapters_run_beside_each_other(served: LiveGateway) -> None:
    async def scenario() -> list[str]:
        async with served.daemon.client() as client:
            models = ["nano", "nano+pirate", "nano+robot"] * 2
            found = await asyncio.gather(
                *[client.chat(QUESTION, model=model, **COLD) for model in models]
            )
            return [one.text for one in found]

    alone = answer(served, "nano")
    first, *others = asyncio.run(scenario())

    assert first == others[2] == alone
    assert others[0].startswith(PIRATE)
    assert others[3].startswith(PIRATE)
    assert others[1].startswith(ROBOT)
    assert others[4].startswith(ROBOT)


def test_a_prompt_is_read_again_under_an_adapter_and_found_again_under_the_same(
    served: LiveGateway,
) -> None:
    def cached(model: str) -> int:
        with Client(served.daemon.socket) as client:
            return client.chat(LONG, model=model, **COLD).usage.cached_tokens

    cached("nano")
    assert cached("nano") > 400
    assert cached("nano+robot") == 0
    assert cached("nano+robot") > 400
    assert cached("nano+robot@0.5") == 0


def test_an_activated_adapter_answers_from_what_the_model_has_read(served: LiveGateway) -> None:
    question = f"{LONG} And you?"
    with Client(served.daemon.socket) as client:
        client.chat(question, model="nano", **COLD)
        found = client.chat(question, model="nano+answers", **COLD)
        plain = client.chat(question, model="nano", **COLD)
    assert found.text.startswith(PIRATE)
    assert found.usage.cached_tokens > 400
    assert not plain.text.startswith(PIRATE)


def test_an_activated_adapter_that_is_not_invoked_is_refused(served: LiveGateway) -> None:
    with (
        Client(served.daemon.socket) as client,
        pytest.raises(BadRequest, match="does not hold what invokes the adapter 'answers'"),
    ):
        client.complete("one two", model="nano+answers", **COLD)


# -- what cannot be --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "more", "words", "field"),
    [
        ("nano+pirat", {}, "no adapter is called 'pirat'", "model"),
        ("nano+nano", {}, "is no adapter", "model"),
        ("nano+broken", {}, "'broken' cannot be used: its file is cut short", "model"),
        ("nano+pirate+pirate", {}, "named twice", "model"),
        ("nano+pirate@1000", {}, "from -100 to 100", "model"),
        ("nano+", {}, "names no model", "model"),
        ("nano+pirate", {"lora": [{"name": "robot"}]}, "in both", "lora"),
        ("nano", {"lora": [{"name": "none"}]}, "no adapter is called 'none'", "lora"),
        ("nano", {"lora": [{"id": 99}]}, "no adapter has the number 99", "lora"),
        ("nano", {"lora": [{"title": "a"}]}, "has no field", "lora[0]"),
        ("nano", {"lora": [{"scale": 1}]}, "needs the name", "lora[0]"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_refused_by_its_field(
    served: LiveGateway, model: str, more: dict[str, Any], words: str, field: str
) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        answer(served, model, **more)
    assert caught.value.field == field
    assert "\n" not in caught.value.message


def test_an_adapter_of_a_model_that_is_not_loaded_names_the_model(served: LiveGateway) -> None:
    with pytest.raises(UnknownModel, match="'orca' is not loaded"):
        answer(served, "orca+pirate")


def test_vectors_are_computed_without_adapters(served: LiveGateway) -> None:
    with (
        Client(served.daemon.socket) as client,
        pytest.raises(Unsupported, match="without adapters"),
    ):
        client.embed("one", model="nano+pirate")


def test_an_adapter_is_loaded_with_its_model_and_makes_no_difference_to_tokens(
    served: LiveGateway,
) -> None:
    with Client(served.daemon.socket) as client:
        assert client.load("nano+pirate").name == "nano"
        assert client.tokenize("one two", model="nano+pirate") == client.tokenize("one two")


# -- lists and HTTP --------------------------------------------------------------------------------


def test_the_adapters_of_a_model_are_listed_with_numbers_that_stay(
    served: LiveGateway, adapters: Path
) -> None:
    with Client(served.daemon.socket) as client:
        rows = {row.name: row for row in client.adapters()}
        shutil.copy(adapters / "pirate.gguf", adapters / "a-new-one.gguf")
        later = {row.name: row for row in client.adapters("nano")}
        (adapters / "a-new-one.gguf").unlink()

    assert {"pirate", "robot", "answers"} <= set(rows)
    assert "broken" not in rows
    assert rows["pirate"].base == "nano"
    assert rows["answers"].invocation_tokens == (IM_START,)
    assert {name: later[name].id for name in rows} == {name: row.id for name, row in rows.items()}
    assert later["a-new-one"].id == max(row.id for row in rows.values()) + 1


def test_llama_servers_clients_ask_for_an_adapter_by_its_number(served: LiveGateway) -> None:
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    with served.http() as http:
        rows = {one["name"]: one for one in http.get("/lora-adapters").json()}
        body = {"prompt": prompt, "temperature": 0, "n_predict": 20}
        lora = [{"id": rows["robot"]["id"], "scale": 1.0}, {"id": rows["pirate"]["id"], "scale": 0}]
        with_it = http.post("/completion", json={**body, "lora": lora}).json()
        without = http.post("/completion", json=body).json()
        every = http.post("/lora-adapters", json=[{"id": 0, "scale": 1.0}])
        none = http.post("/lora-adapters", json=[{"id": 0, "scale": 0.0}])

    assert {one["scale"] for one in rows.values()} == {0.0}
    assert with_it["content"].startswith(ROBOT)
    assert not without["content"].startswith(ROBOT)
    assert every.status_code == 501
    assert none.json() == {"success": True}


def test_openais_and_ollamas_clients_name_the_adapter_with_the_model(served: LiveGateway) -> None:
    turns = [{"role": "user", "content": QUESTION}]
    with served.http() as http:
        chat = {"model": "nano+pirate", "messages": turns, "temperature": 0, "max_tokens": 20}
        openai = http.post("/v1/chat/completions", json=chat).json()
        listed = {**chat, "model": "nano", "lora": [{"name": "robot"}]}
        robot = http.post("/v1/chat/completions", json=listed).json()
        options = {"temperature": 0, "num_predict": 20}
        body = {"model": "nano+robot", "messages": turns, "stream": False, "options": options}
        ollama = http.post("/api/chat", json=body).json()

    assert openai["choices"][0]["message"]["content"].startswith(PIRATE)
    assert robot["choices"][0]["message"]["content"].startswith(ROBOT)
    assert ollama["message"]["content"].startswith(ROBOT)


# -- crashes and restarts --------------------------------------------------------------------------


def test_an_answer_goes_on_under_its_adapter_when_the_engine_dies(served: LiveGateway) -> None:
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    request = greedy(prompt, 400, model="nano+robot")

    async def scenario() -> tuple[Stream, Stream]:
        async with served.daemon.client() as client:
            whole = await collect(client, request)
            cut = Stream()
            running = asyncio.create_task(collect(client, request, cut))
            await cut.enough.wait()
            for engine in served.daemon.engines():
                os.kill(engine.pid, signal.SIGKILL)
            return whole, await running

    whole, cut = asyncio.run(scenario())

    assert whole.text.startswith(ROBOT)
    assert cut.failed is None
    assert len(cut.ids) == 400
    # What follows the answer is noise, in which one bit may change a token.
    assert cut.ids[:12] == whole.ids[:12]


def test_a_session_of_an_adapter_is_not_taken_for_the_models_own_after_a_restart(
    tmp_path: Path, adapters: Path
) -> None:
    kept = ("nano", f"--model-folder={adapters}", f"--session-dir={tmp_path / 's'}", "--kv-type=q8")

    def turn(client: Client, model: str) -> tuple[str, int]:
        found = client.chat(LONG * 3, model=model, session="talk", **COLD)
        return found.text, found.usage.cached_tokens

    with live_daemon(tmp_path, *kept) as daemon:
        with Client(daemon.socket) as client:
            as_pirate, _ = turn(client, "nano+pirate")
        wait_until(lambda: any((tmp_path / "s").glob("*/*.kv")), what="a file")
        assert daemon.stop() == 0
    with live_daemon(tmp_path, *kept) as daemon, Client(daemon.socket) as client:
        plain, from_file = turn(client, "nano")
        again, found = turn(client, "nano+pirate")
        gone = client.forget("talk")

    assert from_file == 0
    assert found > 1000
    assert (again, as_pirate.startswith(PIRATE)) == (as_pirate, True)
    assert not plain.startswith(PIRATE)
    assert gone["sessions"] == ["talk"]
    assert not list((tmp_path / "s").glob("*/*.kv"))
