"""Which files may be a model's draft, as the option says."""

from pathlib import Path

from umad import nano
from umad.config import EngineSettings, Settings
from umad.daemon.drafts import DraftFiles
from umad.daemon.names import ModelFile, ModelNames
from umad.models.drafts import AUTO, smaller_ones


def drafts(folder: Path, draft: str | None, *models: str) -> DraftFiles:
    settings = Settings(models=models, engine=EngineSettings(draft=draft))
    return DraftFiles(settings, ModelNames(models, folders=[str(folder)]))


def model(folder: Path, name: str, size_bytes: int) -> ModelFile:
    path = folder / f"{name}.gguf"
    path.write_bytes(b"GGUF" + bytes(size_bytes - 4))
    return ModelFile(name=name, path=path)


def test_no_draft_is_looked_for_unless_asked(tmp_path: Path) -> None:
    large = model(tmp_path, "large", 10**7)

    assert drafts(tmp_path, None).of(large) == ()


def test_auto_tries_the_models_that_are_clearly_smaller_the_smallest_first(tmp_path: Path) -> None:
    large = model(tmp_path, "large", 300_000)
    model(tmp_path, "half", 150_000)
    middle, small = model(tmp_path, "middle", 90_000), model(tmp_path, "small", 30_000)

    # nano has megabytes, and is none of the smaller ones here.
    assert drafts(tmp_path, AUTO).of(large) == (small.path, middle.path)
    assert drafts(tmp_path, AUTO).of(small) == ()


def test_a_draft_that_is_named_is_that_of_the_models_named_beside_it(tmp_path: Path) -> None:
    large, other = model(tmp_path, "large", 300_000), model(tmp_path, "other", 300_000)
    small = model(tmp_path, "small", 30_000)

    by_name = drafts(tmp_path, "small", str(large.path))
    by_path = drafts(tmp_path, str(small.path), str(large.path))

    assert by_name.of(large) == by_path.of(large) == (small.path,)
    assert by_name.of(other) == ()
    assert drafts(tmp_path, "nano", str(large.path)).of(large) == (nano.path(),)


def test_a_draft_that_is_nowhere_is_left_to_the_engine_to_refuse(tmp_path: Path) -> None:
    large = model(tmp_path, "large", 300_000)

    (path,) = drafts(tmp_path, "gone.gguf", str(large.path)).of(large)

    assert path.is_absolute()
    assert path.name == "gone.gguf"


def test_only_so_many_files_are_tried() -> None:
    others = [(Path(f"/{size}.gguf"), size) for size in range(1, 100)]

    assert smaller_ones(1000, others, most=3) == (Path("/1.gguf"), Path("/2.gguf"), Path("/3.gguf"))
