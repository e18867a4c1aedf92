"""Says what a repository of the Hugging Face hub has, and fetches a model of it.

The hub's own client lists, knows tokens and `HF_ENDPOINT`, obeys `HF_HUB_OFFLINE`, and names the
cache. The bytes are fetched by `umad.models.fetching.download`: the client starts a killed download
over, and takes a file of the right length for the right file (decision 31).
Not: which file is chosen (`umad.models.fetching.choice`), nor how the cache is laid out
(`umad.models.fetching.hub_cache`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import httpx2
from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    get_session,
    get_token,
    hf_hub_url,
    hf_raise_for_status,
)
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo, RepoSibling

from umad.errors import AccessNeeded, BadRequest, FetchFailed, UmadError, UnknownModel
from umad.models.fetching.checksum import Checksum
from umad.models.fetching.choice import Choice, choose
from umad.models.fetching.hub_cache import HubRepository, is_commit
from umad.models.fetching.hub_config import HubConfig, base_model, counted_bytes
from umad.models.fetching.remote import USER_AGENT, RemoteFile, host_of, origin_of, words_of
from umad.models.whisper import is_speech_name
from umad.version import __version__

# Else the client asks the hub once a day for a list of coding agents, and tells it which of them
# runs here. umad says its own name and version.
constants.HF_HUB_DISABLE_TELEMETRY = True

MAIN = "main"
_SUFFIX = ".gguf"
_CONFIG = "config.json"
# Hosts that are the hub, whatever the endpoint: the client sends its token to the same ones.
_HUB_ORIGINS = frozenset({origin_of("https://huggingface.co"), origin_of("https://hf.co")})
_MOST_NEAR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAccess:
    """The hub's address, the token it is asked with, and the cache for its files."""

    endpoint: str
    cache: Path
    token: str | None = field(default=None, repr=False)
    is_offline: bool = False
    # For each answer that says what there is; downloads have their own.
    timeout_s: float = 15.0

    @classmethod
    def of_client(cls) -> "HubAccess":
        """As the hub's client has it, from its variables and its own login."""
        return cls(
            endpoint=constants.ENDPOINT,
            # The client takes a relative folder; a record of the store is read from anywhere.
            cache=Path(constants.HF_HUB_CACHE).absolute(),
            token=None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token(),
            is_offline=constants.is_offline_mode(),
            timeout_s=float(constants.HF_HUB_ETAG_TIMEOUT),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file to fetch."""

    # In the repository.
    path: str
    etag: str
    remote: RemoteFile


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """A model of a repository: what to fetch, or what is here already."""

    repository: str
    commit: str
    choice: Choice
    # The parts in order, then the projector. Empty where the hub was not asked.
    files: tuple[HubFile, ...] = ()
    # As its maker names it, such as "apache-2.0".
    licence: str = ""


class Hub:
    """The hub, asked in one line of time: every call waits for its answer."""

    def __init__(self, access: HubAccess) -> None:
        self._access = access
        self._api = HfApi(
            endpoint=access.endpoint,
            token=access.token or False,
            library_name="umad",
            library_version=__version__,
        )

    @property
    def client(self) -> httpx2.Client:
        """The client's own connections, with what a user configured for them."""
        return get_session()

    def repository(self, name: str) -> HubRepository:
        """Its folder in the cache."""
        return HubRepository(self._access.cache, name)

    def find(
        self, repository: str, *, wanted: str = "", file: str = "", whole: bool = False
    ) -> HubModel:
        """The model that a reference means. Raises `UnknownModel` with what there is,
        `AccessNeeded` with what to do, or `FetchFailed`. whole: as `choose`.
        """
        if self._access.is_offline:
            return self._here(repository, wanted=wanted, file=file, whole=whole)
        with self._told(repository):
            info = self._api.model_info(
                repository, files_metadata=True, timeout=self._access.timeout_s
            )
        listed = {one.rfilename: one for one in info.siblings or () if _is_fetched(one.rfilename)}
        if not listed:
            self._refuse_without_gguf(repository)
        choice = choose(listed, repository=repository, wanted=wanted, file=file, whole=whole)
        commit = str(info.sha)
        if not is_commit(commit):  # it becomes the name of a folder
            raise FetchFailed(f"{host_of(self._access.endpoint)} names no commit of {repository}")
        paths = [*choice.files.parts]
        if choice.files.projector is not None:
            paths.append(choice.files.projector)
        with self._told(repository):
            files = tuple(self._file(repository, commit, listed[str(path)]) for path in paths)
        return HubModel(
            repository=repository,
            commit=commit,
            choice=choice,
            files=files,
            licence=_licence(info),
        )

    def _file(self, repository: str, commit: str, listed: RepoSibling) -> HubFile:
        """Ask for size and checksum of a file, before its first byte."""
        access, path = self._access, listed.rfilename
        url = hf_hub_url(repository, path, revision=commit, endpoint=access.endpoint)
        found = get_hf_file_metadata(
            url,
            token=access.token or False,
            timeout=access.timeout_s,
            endpoint=access.endpoint,
            library_name="umad",
            library_version=__version__,
        )
        sha256 = None if listed.lfs is None else listed.lfs.sha256
        # A mirror may have ETags of its own; the list has the sum all the same.
        checksum = Checksum.of_etag(found.etag or "") or Checksum.of_etag(sha256 or "")
        if checksum is not None and sha256 is not None and checksum.digits != sha256:
            raise FetchFailed(
                f"{repository} was changed while it was looked at: {path} has another checksum "
                "than the list says; pull it again"
            )
        if checksum is None or found.size is None:
            raise FetchFailed(
                f"{host_of(access.endpoint)} names no checksum of {path}, so nobody could say "
                "whether it came whole; it is not fetched"
            )
        # A path that leads out of the repository is refused before anything is made.
        try:
            self.repository(repository).pointer(commit, path)
        except ValueError as error:
            raise FetchFailed(f"{repository}: {error}") from None
        remote = RemoteFile(
            name=path,
            url=url,
            size_bytes=found.size,
            checksum=checksum,
            token=access.token,
            token_origins=_HUB_ORIGINS | {origin_of(access.endpoint)},
        )
        return HubFile(path=path, etag=checksum.digits, remote=remote)

    def config(self, repository: str) -> HubConfig:
        """The config.json of a repository, whose weights may be of any format. Raises as `find`."""
        access = self._access
        if access.is_offline:
            folder = self.repository(repository)
            path = folder.snapshot(folder.commit_of(MAIN)) / _CONFIG
            if not path.is_file():
                raise FetchFailed(
                    f"{_CONFIG} of {repository} is not on this machine, and HF_HUB_OFFLINE forbids "
                    "to ask for it"
                )
            return HubConfig(text=path.read_bytes(), weights_bytes=0, is_gated=False)
        headers = {"User-Agent": USER_AGENT}
        if access.token is not None:
            headers["Authorization"] = f"Bearer {access.token}"
        with self._told(repository):
            info = self._api.model_info(repository, timeout=access.timeout_s)
            names = [one.rfilename for one in info.siblings or ()]
            text = b""
            if _CONFIG in names:
                url = hf_hub_url(
                    repository, _CONFIG, revision=str(info.sha), endpoint=access.endpoint
                )
                answer = self.client.get(
                    url, headers=headers, timeout=access.timeout_s, follow_redirects=True
                )
                hf_raise_for_status(answer)
                text = answer.content
        return HubConfig(
            text=text,
            weights_bytes=counted_bytes(info),
            is_gated=bool(info.gated),
            base=base_model(info),
            has_gguf=any(name.lower().endswith(_SUFFIX) for name in names),
        )

    # -- without the hub ---------------------------------------------------------------------------

    def _here(self, repository: str, *, wanted: str, file: str, whole: bool) -> HubModel:
        """The model in the cache. It was whole when it got its names."""
        folder = self.repository(repository)
        commit = folder.commit_of(MAIN)
        snapshot = folder.snapshot(commit)
        names = [
            path.relative_to(snapshot).as_posix()
            for path in (sorted(snapshot.rglob("*")) if commit else ())
            if _is_fetched(path.name) and path.is_file()
        ]
        if not names:
            raise FetchFailed(
                f"hf:{repository} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it: "
                "unset it, and pull again"
            )
        choice = choose(
            names,
            repository=f"the copy here of {repository}",
            wanted=wanted,
            file=file,
            whole=whole,
        )
        return HubModel(repository=repository, commit=commit, choice=choice)

    # -- errors ------------------------------------------------------------------------------------

    @contextmanager
    def _told(self, repository: str) -> Iterator[None]:
        """Turns the client's errors into ours, each one line that says what to do."""
        access = self._access
        host = host_of(access.endpoint)
        try:
            yield
        except UmadError:
            raise
        except GatedRepoError as error:
            raise AccessNeeded(self._gated(repository)) from error
        except RepositoryNotFoundError as error:
            raise UnknownModel(self._not_there(repository), field="model") from error
        except (RevisionNotFoundError, RemoteEntryNotFoundError) as error:
            raise UnknownModel(
                f"{repository} no longer has what its list names; pull again", field="model"
            ) from error
        except HFValidationError as error:
            raise BadRequest(f"{repository!r} is no name of a repository", field="model") from error
        except OfflineModeIsEnabled as error:
            raise FetchFailed(
                "HF_HUB_OFFLINE forbids to ask the hub: unset it, and pull again"
            ) from error
        except HfHubHTTPError as error:
            raise self._of_status(error) from error
        except httpx2.TimeoutException as error:
            raise FetchFailed(
                f"{host} did not answer within {access.timeout_s:.0f} s; try again"
            ) from error
        except httpx2.TransportError as error:
            raise FetchFailed(
                f"{host} cannot be reached ({words_of(error)}): is there a network?"
            ) from error
        except (httpx2.HTTPError, FileMetadataError, ValueError, TypeError, KeyError) as error:
            raise FetchFailed(
                f"{host} does not answer as a hub does; look at HF_ENDPOINT and at proxies on the "
                "way"
            ) from error

    def _gated(self, repository: str) -> str:
        page = f"{self._access.endpoint}/{repository}"
        if self._access.token is None:
            return (
                f"{repository} is gated: accept its licence at {page}, then set HF_TOKEN, or log "
                "in with: hf auth login"
            )
        return (
            f"{repository} is gated, and your token may not read it: accept its licence at {page} "
            "with the token's account, and let the token read gated repositories"
        )

    def _not_there(self, repository: str) -> str:
        near = self._near(repository.partition("/")[2])
        private = "" if self._access.token else ", or is private (HF_TOKEN, hf auth login)"
        hint = f"; near: {', '.join(near)}" if near else ""
        return f"the hub has no repository {repository}{private}{hint}"

    def _refuse_without_gguf(self, repository: str) -> NoReturn:
        own = repository.partition("/")[2]
        near = [one for one in self._near(own) if one != repository]
        hint = f"; repositories that have: {', '.join(near)}" if near else ""
        raise UnknownModel(
            f"{repository} has no GGUF file, and umad runs no other{hint}", field="model"
        )

    def _near(self, words: str) -> list[str]:
        """Repositories with GGUF files whose names are near; none where the hub does not say."""
        plain = words.lower().removesuffix("-gguf")
        headers = {"User-Agent": USER_AGENT}
        if self._access.token is not None:
            headers["Authorization"] = f"Bearer {self._access.token}"
        try:
            # Not the client's `list_models`, which waits without a bound.
            answer = self.client.get(
                f"{self._access.endpoint}/api/models",
                params={"search": plain, "filter": "gguf", "limit": _MOST_NEAR},
                headers=headers,
                timeout=self._access.timeout_s,
            )
            return [str(one["id"]) for one in answer.json()][:_MOST_NEAR]
        except (httpx2.HTTPError, OSError, ValueError, TypeError, KeyError):
            return []

    def _of_status(self, error: HfHubHTTPError) -> UmadError:
        host, status = host_of(self._access.endpoint), error.response.status_code
        if status in (401, 403):
            return AccessNeeded(
                f"{host} does not accept your token: look at HF_TOKEN, or log in with: "
                "hf auth login"
            )
        if status == 429:
            wait = error.response.headers.get("Retry-After", "")
            again = f"in {wait} s" if wait.isdigit() else "in some minutes"
            return FetchFailed(f"{host} has had too many requests: pull again {again}")
        return FetchFailed(f"{host} answered {status}; pull again later")


def _is_fetched(name: str) -> bool:
    """Whether a file of a repository is a model's: a GGUF, or a Whisper model."""
    return name.lower().endswith(_SUFFIX) or is_speech_name(name)


def _licence(info: ModelInfo) -> str:
    """The licence that the model's card names, else its tags."""
    for key in ("license_name", "license"):  # the name is there where the licence is "other"
        said: object = None if info.card_data is None else info.card_data.get(key)
        if isinstance(said, str) and said:
            return said
    tags = [one for one in info.tags or () if one.startswith("license:")]
    return tags[0].partition(":")[2] if tags else ""
