"""Chooses among a repository's files: which quantization, all its splits, the projector with them.

Who names a quantization gets that one or an error. Who names none gets Q4_K_M, and where a
repository has none the first that it has of `LADDER`.
Pure: names of files alone. Not: listing a repository (`umad.models.fetching.hub`).
"""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from umad.errors import UnknownModel
from umad.models.files import (
    ModelFiles,
    is_model_name,
    is_projector_name,
    quantization_in,
    sorted_out,
)

# Four bits are where most models lose little and most machines have room. Of those the ones that
# keep most, then what is better and larger, then what is smaller and worse. Whole numbers of 16 and
# 32 bits come late: they read four times as much memory a token for a difference few can see. Some
# makers write the bits alone ("q4"), as Microsoft does for Phi-3.
LADDER = (
    *("Q4_K_M", "Q4_K_XL", "Q4_K_L", "Q4_K_S", "Q4_K", "MXFP4", "MXFP4_MOE", "NVFP4"),
    *("IQ4_NL", "IQ4_XS", "Q4_1", "Q4_0", "Q4"),
    *("Q5_K_M", "Q5_K_XL", "Q5_K_L", "Q5_K_S", "Q5_K", "Q5_1", "Q5_0", "Q5"),
    *("Q6_K", "Q6_K_XL", "Q6_K_L", "Q6", "Q8_0", "Q8_K_XL", "Q8"),
    *("Q3_K_XL", "Q3_K_L", "Q3_K_M", "Q3_K", "IQ3_M", "IQ3_S", "Q3_K_S", "IQ3_XS", "IQ3_XXS", "Q3"),
    *("BF16", "F16", "FP16"),
    *("Q2_K_XL", "Q2_K_L", "Q2_K", "Q2_K_S", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS"),
    *("Q2_0", "Q2"),
    *("TQ2_0", "TQ1_0", "IQ1_M", "IQ1_S", "F32"),
)
DEFAULT = LADDER[0]
# Weights that nobody has rounded yet, for whoever quantizes them: first those of most models' own
# training.
WHOLE = ("BF16", "F16", "FP16", "F32", "FP32")
# Unsloth's dynamic quantizations are marked; one is no other kind for whoever asks.
_MARK = "UD-"
_MOST_NAMES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The files to fetch, by their paths in the repository."""

    files: ModelFiles
    # Of the model; empty where its name has none.
    quantization: str
    # No other model of the repository has this quantization.
    is_only: bool
    # Nobody named it, and it is not the default.
    is_makeshift: bool


def choose(
    names: Collection[str],
    *,
    repository: str,
    wanted: str = "",
    file: str = "",
    whole: bool = False,
) -> Choice:
    """Choose among the files `names`. Raises `UnknownModel`, which says what there is.

    wanted: a quantization in capitals. file: one file's path instead. whole: without either,
    weights that nobody has rounded yet.
    """
    models = sorted_out(Path(name) for name in names)
    if file:
        one = _named(models, file, names, repository)
        return _whole(one, models, names, repository)
    if not models:
        raise UnknownModel(f"{repository} has no model in GGUF", field="model")
    if wanted:
        there = _of(models, wanted)
        if not there:
            _refuse_quantization(models, wanted, repository)
        return _whole(_single(there, wanted, repository), models, names, repository)
    if whole:
        return _unrounded(models, names, repository)
    for rung in LADDER:
        there = _of(models, rung)
        if there:
            one = _single(there, rung, repository)
            return _whole(one, models, names, repository, is_makeshift=rung != DEFAULT)
    # Names say nothing, or something newer than this ladder.
    one = _single(models, "", repository)
    is_newer = bool(quantization_in(one.main))
    return _whole(one, models, names, repository, is_makeshift=is_newer)


def _unrounded(models: Sequence[ModelFiles], names: Collection[str], repository: str) -> Choice:
    for kind in WHOLE:
        there = _of(models, kind)
        if there:
            return _whole(_single(there, kind, repository), models, names, repository)
    # A model that has one file alone may have whole weights, and its name does not say so.
    if len(models) == 1 and not quantization_in(models[0].main):
        return _whole(models[0], models, names, repository)
    kinds = sorted({quantization_in(one.main) for one in models} - {""})
    raise UnknownModel(
        f"{repository} has no file of F16, BF16 or F32 to quantize; it has: "
        f"{', '.join(kinds) or _listed(models)}",
        field="model",
    )


def _of(models: Sequence[ModelFiles], wanted: str) -> Sequence[ModelFiles]:
    """The models of a quantization: by its very name, else by the name without the mark."""
    exact = [one for one in models if quantization_in(one.main) == wanted]
    plain = wanted.removeprefix(_MARK)
    return exact or [
        one for one in models if quantization_in(one.main).removeprefix(_MARK) == plain
    ]


def _single(models: Sequence[ModelFiles], quantization: str, repository: str) -> ModelFiles:
    if len(models) == 1:
        return models[0]
    kind = f" of {quantization}" if quantization else ""
    raise UnknownModel(
        f"{repository} has {len(models)} models{kind}: {_listed(models)}; name one as "
        f"hf:{repository}/{models[0].main}",
        field="model",
    )


def _named(
    models: Sequence[ModelFiles], file: str, names: Collection[str], repository: str
) -> ModelFiles:
    path = Path(file)
    for one in models:
        if path in one.parts:
            return one
    if file in names and is_projector_name(path):
        raise UnknownModel(
            f"{file} turns images or sound into tokens for a model; it comes with the model, when "
            "that is pulled",
            field="model",
        )
    if file in names and not is_model_name(path):
        raise UnknownModel(f"{file} of {repository} is no model", field="model")
    near = difflib.get_close_matches(file, [str(one.main) for one in models], n=1, cutoff=0.3)
    hint = f"; near: {near[0]}" if near else f"; it has: {_listed(models)}" if models else ""
    raise UnknownModel(f"{repository} has no file {file}{hint}", field="model")


def _refuse_quantization(models: Sequence[ModelFiles], wanted: str, repository: str) -> NoReturn:
    there = sorted({quantization_in(one.main) for one in models} - {""})
    near = difflib.get_close_matches(wanted, there, n=1)
    has = ", ".join(there) or _listed(models)
    hint = f"; near: {near[0]}" if near else ""
    raise UnknownModel(f"{repository} has no {wanted}{hint}; it has: {has}", field="model")


def _whole(
    one: ModelFiles,
    models: Sequence[ModelFiles],
    names: Collection[str],
    repository: str,
    *,
    is_makeshift: bool = False,
) -> Choice:
    missing = [part for part in one.parts if str(part) not in names]
    if missing:
        raise UnknownModel(
            f"{repository} is not whole: it lacks {missing[0]}, one of {len(one.parts)} parts; "
            "nothing was fetched",
            field="model",
        )
    quantization = quantization_in(one.main)
    same = [other for other in models if quantization_in(other.main) == quantization]
    return Choice(
        files=one,
        quantization=quantization,
        is_only=len(same) == 1,
        is_makeshift=is_makeshift,
    )


def _listed(models: Sequence[ModelFiles]) -> str:
    names = [str(one.main) for one in models[:_MOST_NAMES]]
    more = f" and {len(models) - _MOST_NAMES} more" if len(models) > _MOST_NAMES else ""
    return ", ".join(names) + more
