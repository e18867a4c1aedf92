"""What a reference to the hub means and brings, with the hub's real client."""

import errno
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download

from tests.models.fetching.conftest import random_bytes
from tests.models.fetching.one_file import QUICK
from tests.models.fetching.waiting import StopHere, closed_port, wait_until
from tests.models.gguf_bytes import gguf
from tests.models.loopback_hub import LoopbackHub
from umad.errors import AccessNeeded, BadRequest, DiskFull, FetchFailed, UnknownModel
from umad.models.catalogue import Catalogue, CatalogueEntry
from umad.models.fetching import FetchLimits, FetchPlan, FetchProgress, fetch
from umad.models.fetching.hub import HubAccess
from umad.models.found import FoundModel
from umad.models.places.hugging_face import HubCache
from umad.models.reference import parse
from umad.models.store import Store
from umad.preset import Preset

REPOSITORY = "org/Fox-3B-GGUF"


def model_bytes(filling: int = 1) -> bytes:
    """A small model that can be served, with data of its own."""
    metadata = {"general.architecture": "llama", "llama.block_count": 1, "general.name": "Fox"}
    data = gguf(metadata, [("token_embd.weight", (64, 1024), 0, 4 * 64 * 1024)])
    return data[: -4 * 64 * 1024] + random_bytes(4 * 64 * 1024, seed=filling)


@pytest.fixture
def access(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> HubAccess:
    """What the client would say, had it been started with this hub and this cache."""
    one = HubAccess(endpoint=hub.url, cache=cache)
    use(monkeypatch, one)
    return one


def use(monkeypatch: pytest.MonkeyPatch, access: HubAccess) -> None:
    monkeypatch.setattr(HubAccess, "of_client", classmethod(lambda cls: access))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def pull(text: str, store: Store, **more: object) -> FoundModel:
    return fetch(
        parse(text),
        on_progress=lambda told: None,
        limits=QUICK,
        store=store,
        **more,  # type: ignore[arg-type]
    )


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {
        "CACHEDIR.TAG"
    }


def no_links(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def symlink_to(path: Path, target: str) -> None:
        raise OSError(error, os.strerror(error), str(path))

    monkeypatch.setattr(Path, "symlink_to", symlink_to)


# -- what comes ------------------------------------------------------------------------------------


def test_a_model_comes_with_its_projector_into_the_cache_of_the_hub(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    model, projector = model_bytes(), model_bytes(2)
    files = {
        "Fox-3B-Q4_K_M.gguf": model,
        "Fox-3B-Q8_0.gguf": model_bytes(3),
        "mmproj-F16.gguf": projector,
        "README.md": b"# Fox",
    }
    hub.add(REPOSITORY, files, plain=frozenset({"README.md"}), licence="apache-2.0")

    found = pull(f"hf:{REPOSITORY}", store)

    assert found.files.main.read_bytes() == model
    assert found.files.projector is not None
    assert found.files.projector.read_bytes() == projector
    assert (found.name, found.source) == ("Fox-3B-Q4_K_M", f"hf:{REPOSITORY}:Q4_K_M")
    assert (found.problem, found.n_params) == ("", 64 * 1024)
    kept = store.get("Fox-3B-Q4_K_M")
    assert kept is not None
    assert (kept.licence, kept.owns_files) == ("apache-2.0", True)
    assert set(kept.digests) == set(found.files.all)
    # The reader of the hub's cache finds the same files.
    listed = HubCache(access.cache).find().models
    assert [one.files for one in listed] == [found.files]


def test_the_hubs_own_program_lists_what_was_fetched(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add(REPOSITORY, {"Fox-3B-Q4_K_M.gguf": model_bytes()})

    pull(f"hf:{REPOSITORY}", store)

    said = subprocess.run(
        [sys.executable, "-m", "huggingface_hub.cli.hf", "cache", "ls"],
        env=os.environ | {"HF_HUB_CACHE": str(access.cache), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"model/{REPOSITORY}" in said.stdout, said.stderr


def test_what_the_hubs_client_has_fetched_is_not_fetched_again(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add(REPOSITORY, {"Fox-3B-Q4_K_M.gguf": model_bytes()})
    pull(f"hf:{REPOSITORY}", store)
    hub.seen.clear()

    again = pull(f"hf:{REPOSITORY}:Q4_K_M", Store(store.folder.with_name("other")))

    assert again.files.main.read_bytes() == model_bytes()
    assert hub.ranges() == []


def test_the_hubs_own_client_waits_for_a_pull_of_the_same_file(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    file = "Fox-3B-Q4_K_M.gguf"
    hub.add(REPOSITORY, {file: model_bytes()})
    hub.hold_after(1000)
    ours = threading.Thread(target=pull, args=(f"hf:{REPOSITORY}", store))
    ours.start()
    wait_until(lambda: bool(hub.ranges()))
    hub.seen.clear()
    found: list[str] = []

    def theirs() -> None:
        found.append(
            hf_hub_download(REPOSITORY, file, endpoint=hub.url, cache_dir=access.cache, token=False)
        )

    client = threading.Thread(target=theirs)
    client.start()
    wait_until(lambda: "HEAD" in [one.method for one in hub.seen])
    hub.release()
    ours.join(timeout=60)
    client.join(timeout=60)

    assert Path(found[0]).read_bytes() == model_bytes()
    assert [one for one in hub.seen if one.by == "storage"] == []


def test_what_another_program_put_into_the_cache_is_not_umads_to_remove(
    hub: LoopbackHub, access: HubAccess, store: Store, tmp_path: Path
) -> None:
    hub.add(REPOSITORY, {"Fox-3B-Q4_K_M.gguf": model_bytes()})
    another = Store(tmp_path / "another")
    pull(f"hf:{REPOSITORY}", another)

    mine = [pull(f"hf:{REPOSITORY}", one).name for one in (store, another)]

    assert mine == ["Fox-3B-Q4_K_M"] * 2
    assert [one.owns_files for one in store.models()] == [False]
    # It fetched it once, and looked once more.
    assert [one.owns_files for one in another.models()] == [True]


def test_a_split_has_no_name_before_all_its_parts_are_there(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    first, second = "Fox-Q4_K_M-00001-of-00002.gguf", "Fox-Q4_K_M-00002-of-00002.gguf"
    hub.add(REPOSITORY, {first: model_bytes(1), second: model_bytes(2)})

    def told(progress: FetchProgress) -> None:
        if progress.file == second:
            raise StopHere

    with pytest.raises(StopHere):
        fetch(parse(f"hf:{REPOSITORY}"), on_progress=told, limits=QUICK, store=store)

    assert not (access.cache / "models--org--Fox-3B-GGUF" / "snapshots").exists()
    assert store.models() == ()


def test_a_repository_that_lacks_a_part_is_refused_before_a_byte(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add(REPOSITORY, {"Fox-Q4_K_M-00001-of-00002.gguf": model_bytes()})

    with pytest.raises(UnknownModel, match=r"lacks Fox-Q4_K_M-00002-of-00002.gguf"):
        pull(f"hf:{REPOSITORY}", store)

    assert hub.ranges() == []
    assert not access.cache.exists()


def test_on_a_file_system_without_links_a_model_is_fetched_once(
    hub: LoopbackHub, access: HubAccess, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_links(monkeypatch, errno.EPERM)
    hub.add(REPOSITORY, {"Fox-3B-Q4_K_M.gguf": model_bytes()})
    plans: list[FetchPlan] = []

    for _ in range(2):
        found = pull(f"hf:{REPOSITORY}", store, on_plan=plans.append)

    assert found.files.main.read_bytes() == model_bytes()
    assert [one.missing_bytes for one in plans] == [len(model_bytes()), 0]


def test_a_link_that_a_full_disk_forbids_leaves_the_blob_where_other_links_need_it(
    hub: LoopbackHub, access: HubAccess, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_links(monkeypatch, errno.ENOSPC)
    hub.add(REPOSITORY, {"Fox-3B-Q4_K_M.gguf": model_bytes()})

    with pytest.raises(FetchFailed, match="cannot be written"):
        pull(f"hf:{REPOSITORY}", store)

    (blob,) = (access.cache / f"models--{REPOSITORY.replace('/', '--')}" / "blobs").iterdir()
    assert blob.read_bytes() == model_bytes()


def test_a_part_that_is_removed_while_the_next_one_comes_is_missed(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    names = [f"Fox-Q4_K_M-0000{number}-of-00002.gguf" for number in (1, 2)]
    hub.add(REPOSITORY, {name: random_bytes(1000, seed=at) for at, name in enumerate(names)})
    first = hub.repositories[REPOSITORY].etag(names[0])
    blobs = access.cache / f"models--{REPOSITORY.replace('/', '--')}" / "blobs"

    def told(now: FetchProgress) -> None:
        if now.file == names[1]:
            (blobs / first).unlink(missing_ok=True)

    with pytest.raises(FetchFailed, match="was removed while the rest came; pull it again"):
        fetch(parse(f"hf:{REPOSITORY}"), on_progress=told, limits=QUICK, store=store)
    assert store.models() == ()


def test_another_quantization_than_the_default_is_said(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add(REPOSITORY, {"Fox-Q5_K_M.gguf": model_bytes(), "Fox-F16.gguf": model_bytes(2)})
    plans: list[FetchPlan] = []

    pull(f"hf:{REPOSITORY}", store, on_plan=plans.append)

    assert "has no Q4_K_M" in plans[0].note
    assert "Q5_K_M is taken" in plans[0].note
    assert plans[0].missing_bytes == len(model_bytes())


def test_a_name_of_the_catalogue_brings_its_repository(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add(REPOSITORY, {"Fox-3B-Q4_K_M.gguf": model_bytes()})
    entry = CatalogueEntry(
        name="fox:3b",
        repository=REPOSITORY,
        does=("chat",),
        purpose="",
        parameters="3B",
        context_tokens=4096,
        licence="apache-2.0",
    )
    catalogue = Catalogue(
        entries={"fox:3b": entry},
        aliases={"Mine": "fox:3b", "ring": "ring"},
        presets={"brief": Preset(name="brief", model="mine", system="Be brief.")},
    )

    assert pull("fox:3b", store, catalogue=catalogue).source == f"hf:{REPOSITORY}:Q4_K_M"
    assert pull("mine", store, catalogue=catalogue).source == f"hf:{REPOSITORY}:Q4_K_M"
    assert pull("brief", store, catalogue=catalogue).source == f"hf:{REPOSITORY}:Q4_K_M"
    with pytest.raises(UnknownModel, match="ring"):
        pull("ring", store, catalogue=catalogue)
    with pytest.raises(UnknownModel, match=r"near are fox:3b"):
        pull("fix:3b", store, catalogue=catalogue)


def test_a_model_gets_no_name_that_means_another_one(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "nano.gguf"
    path.write_bytes(model_bytes())

    found = pull(str(path), store, taken=["nano"])

    assert found.name == str(path)
    assert store.get("nano") is None


def test_a_cache_that_is_named_from_here_is_a_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("umad.models.fetching.hub.constants.HF_HUB_CACHE", "here/hub")

    assert HubAccess.of_client().cache == tmp_path / "here" / "hub"


def test_a_newer_version_takes_the_place_of_one_that_was_half_fetched(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add(REPOSITORY, {"Fox-Q4_K_M.gguf": model_bytes(1)})

    def stop(told: FetchProgress) -> None:
        raise StopHere

    with pytest.raises(StopHere):
        fetch(parse(f"hf:{REPOSITORY}"), on_progress=stop, limits=QUICK, store=store)
    hub.add(REPOSITORY, {"Fox-Q4_K_M.gguf": model_bytes(2) + bytes(32)})

    found = pull(f"hf:{REPOSITORY}", store)

    assert found.files.main.read_bytes() == model_bytes(2) + bytes(32)
    assert not list(access.cache.rglob("*.incomplete"))


def test_two_models_of_one_name_are_both_kept(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add("one/Fox-GGUF", {"Fox-Q4_K_M.gguf": model_bytes(1)})
    hub.add("two/Fox-GGUF", {"Fox-Q4_K_M.gguf": model_bytes(2)})

    names = [pull(f"hf:{owner}/Fox-GGUF", store).name for owner in ("one", "two", "one")]

    assert names == ["Fox-Q4_K_M", "hf:two/Fox-GGUF:Q4_K_M", "Fox-Q4_K_M"]


# -- what does not ---------------------------------------------------------------------------------


def test_a_gated_repository_says_where_to_accept_its_licence(
    hub: LoopbackHub, access: HubAccess, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPOSITORY, {"Fox-Q4_K_M.gguf": model_bytes()}, gated=True)

    page = f"accept its licence at {hub.url}/{REPOSITORY}"
    with pytest.raises(AccessNeeded, match=page + r", then set HF_TOKEN, .* hf auth login"):
        pull(f"hf:{REPOSITORY}", store)
    use(monkeypatch, replace(access, token="hf_stranger"))
    with pytest.raises(AccessNeeded, match=rf"your token may not read it: {page}"):
        pull(f"hf:{REPOSITORY}", store)
    use(monkeypatch, replace(access, token=hub.token))
    hub.seen.clear()

    assert pull(f"hf:{REPOSITORY}", store).problem == ""
    assert {one.token for one in hub.seen if one.by == "hub"} == {f"Bearer {hub.token}"}
    assert {one.token for one in hub.seen if one.by == "storage"} == {None}


def test_a_repository_that_is_not_there_names_near_ones(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add(REPOSITORY, {"Fox-Q4_K_M.gguf": model_bytes()})

    with pytest.raises(UnknownModel, match=rf"no repository other/fox-3b.*near: {REPOSITORY}"):
        pull("hf:other/fox-3b", store)


def test_a_repository_without_gguf_names_one_with(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add("org/Fox-3B", {"model.safetensors": b"x"}, tags=["transformers"])
    hub.add(REPOSITORY, {"Fox-Q4_K_M.gguf": model_bytes()})

    with pytest.raises(UnknownModel, match=rf"no GGUF file, .*that have: {REPOSITORY}"):
        pull("hf:org/Fox-3B", store)


def test_no_network_is_one_line(
    access: HubAccess, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_port() as port:
        use(monkeypatch, replace(access, endpoint=f"http://127.0.0.1:{port}"))
        with pytest.raises(FetchFailed, match=r"cannot be reached \(.*\): is there a network\?"):
            pull(f"hf:{REPOSITORY}", store)


def test_a_server_that_is_no_hub_is_one_line(
    access: HubAccess, store: Store, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPOSITORY, {"Fox-Q4_K_M.gguf": model_bytes()})
    use(monkeypatch, replace(access, endpoint=f"{hub.url}/api"))

    with pytest.raises(FetchFailed, match=r"answered 404|does not answer as a hub"):
        pull(f"hf:{REPOSITORY}", store)


def test_offline_what_is_here_is_found_and_the_rest_says_why_not(
    hub: LoopbackHub, access: HubAccess, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPOSITORY, {"Fox-Q4_K_M.gguf": model_bytes(), "Fox-Q8_0.gguf": model_bytes(2)})
    online = pull(f"hf:{REPOSITORY}", store)
    use(monkeypatch, replace(access, is_offline=True))
    hub.seen.clear()

    assert pull(f"hf:{REPOSITORY}", store).files == online.files
    with pytest.raises(UnknownModel, match=r"the copy here of .* has no Q8_0"):
        pull(f"hf:{REPOSITORY}:Q8_0", store)
    with pytest.raises(FetchFailed, match=r"HF_HUB_OFFLINE forbids"):
        pull("hf:org/other", store)
    assert hub.seen == []


def test_a_disk_without_room_for_all_files_is_refused_before_the_first(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add(REPOSITORY, {"Fox-Q4_K_M.gguf": model_bytes()})

    with pytest.raises(DiskFull, match=r"stay free"):
        fetch(
            parse(f"hf:{REPOSITORY}"),
            on_progress=lambda told: None,
            limits=FetchLimits(keep_free_bytes=2**60),
            store=store,
        )

    assert hub.ranges() == []


def test_a_store_that_cannot_be_written_is_said_before_a_byte(
    hub: LoopbackHub, access: HubAccess, tmp_path: Path
) -> None:
    hub.add(REPOSITORY, {"Fox-Q4_K_M.gguf": model_bytes()})
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(Exception, match=r"the store .* cannot be written"):
        pull(f"hf:{REPOSITORY}", Store(tmp_path / "file" / "store"))

    assert hub.seen == []


def test_a_path_that_leads_out_of_the_repository_is_refused(
    hub: LoopbackHub, access: HubAccess, store: Store, tmp_path: Path
) -> None:
    hub.add(REPOSITORY, {"../../../../evil-Q4_K_M.gguf": model_bytes()})

    with pytest.raises((FetchFailed, UnknownModel)):
        pull(f"hf:{REPOSITORY}", store)

    assert not list(tmp_path.rglob("evil*"))


def test_a_name_that_no_file_can_have_is_refused_before_a_byte(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add(REPOSITORY, {f"{'fox' * 90}-Q4_K_M.gguf": model_bytes()})

    with pytest.raises(FetchFailed, match="has a name too long for a file"):
        pull(f"hf:{REPOSITORY}", store)

    assert hub.ranges() == []


@pytest.mark.parametrize("commit", ["../../../../evil", "main", "0" * 39])
def test_a_commit_that_leads_out_of_the_cache_is_refused(
    hub: LoopbackHub, access: HubAccess, store: Store, commit: str
) -> None:
    hub.add(REPOSITORY, {"Fox-Q4_K_M.gguf": model_bytes()})
    hub.says_commit = commit

    with pytest.raises(FetchFailed, match="names no commit"):
        pull(f"hf:{REPOSITORY}", store)

    assert hub.ranges() == []


def test_a_mirror_with_etags_of_its_own_is_held_to_the_lists_checksum(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add(REPOSITORY, {"Fox-Q4_K_M.gguf": model_bytes()})
    hub.says_etag = "1a2b-3c4d"

    found = pull(f"hf:{REPOSITORY}", store)

    assert found.files.main.read_bytes() == model_bytes()


def test_a_file_that_is_another_one_than_the_list_says_is_not_fetched(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    hub.add(REPOSITORY, {"Fox-Q4_K_M.gguf": model_bytes()})
    hub.says_etag = "0" * 64

    with pytest.raises(FetchFailed, match="another checksum than the list says"):
        pull(f"hf:{REPOSITORY}", store)

    assert hub.ranges() == []


def test_a_file_without_any_checksum_is_not_fetched(
    hub: LoopbackHub, access: HubAccess, store: Store
) -> None:
    file = "Fox-Q4_K_M.gguf"
    hub.add(REPOSITORY, {file: model_bytes()}, plain=frozenset({file}))
    hub.says_etag = "1a2b-3c4d"

    with pytest.raises(FetchFailed, match=r"names no checksum of Fox-Q4_K_M\.gguf"):
        pull(f"hf:{REPOSITORY}", store)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(BadRequest):
        parse("hf:no")


# -- a file that is here ---------------------------------------------------------------------------


def test_a_file_of_the_disk_gets_a_name_and_stays_where_it_is(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "Own-Q8_0.gguf"
    path.write_bytes(model_bytes())

    found = pull(str(path), store)

    assert (found.name, found.files.main) == ("Own-Q8_0", path)
    kept = store.get("Own-Q8_0")
    assert kept is not None
    assert not kept.owns_files
    (record,) = files_below(store.folder) - {"lock"}
    assert record.startswith("records/Own-Q8_0")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "web-page.gguf"
    path.write_text("<html>")

    with pytest.raises(Exception, match=r"is not a GGUF file"):
        pull(str(path), store)

    assert store.models() == ()
