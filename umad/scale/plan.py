"""A plan for a model on accelerators, as values and as words. Pure.

`planned` is the whole tool in one call: it chooses, explains, and says what would fit where nothing
does. `Plan.as_map` is what `umad scale plan --json` prints; its fields stay.
"""

from dataclasses import dataclass
from typing import Any

from umad.scale.accelerators import Machines
from umad.scale.choice import Candidate, Choice, Wish, choose
from umad.scale.draft import Draft
from umad.scale.engines import TITLES, VERSIONS
from umad.scale.fitting import Alternative, alternatives
from umad.scale.flags import command
from umad.scale.notes import notes
from umad.scale.rules import Refusal
from umad.scale.shape import ModelShape
from umad.scale.weights import file_bytes, parameters

_MOST_OTHERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to start, and why; or why nothing can be."""

    shape: ModelShape
    machines: Machines
    wish: Wish
    choice: Choice
    draft: Draft | None
    notes: tuple[str, ...]
    # What would fit, where this does not.
    instead: tuple[Alternative, ...]

    @property
    def fits(self) -> bool:
        """Whether there is a split to start."""
        return self.choice.chosen is not None

    @property
    def candidate(self) -> Candidate | None:
        """The chosen split, or the nearest one where none fits."""
        return self.choice.chosen or self.choice.nearest

    @property
    def command(self) -> tuple[str, ...]:
        """The engine's command line; empty where nothing fits."""
        chosen = self.choice.chosen
        if chosen is None:
            return ()
        return command(self.shape, chosen, self.wish, self.machines, draft=self.draft)

    @property
    def refused(self) -> str:
        """Why nothing fits, in one line; "" where something does."""
        if self.fits:
            return ""
        instead = ", or ".join(one.words for one in self.instead)
        would = f"; what would fit: {instead}" if instead else "; nothing that umad knows would fit"
        return f"{self._reason}{would}"

    @property
    def _reason(self) -> str:
        nearest = self.choice.nearest
        if nearest is None:
            return "; ".join(one.words for one in self.choice.refusals)
        found = nearest.memory
        if found.room_bytes <= 0:
            what = (
                f"{_gb(found.weights_bytes + found.draft_bytes)} of weights and "
                f"{_gb(found.workspace.total_bytes)} to work in are more than "
                f"{found.share:.0%} of {_gb(found.total_bytes)}"
            )
        else:
            what = (
                f"a text of {found.context_tokens:,} tokens takes {_gb(found.text_bytes)} of "
                f"cells, and there is room for {_gb(found.room_bytes)}"
            )
        refused = [one.words for one in self.choice.refusals if one.rule != "count"]
        besides = f" ({'; '.join(refused)})" if refused else ""
        split = nearest.split
        return (
            f"{self.shape.name} does not fit {self.machines}: with TP={split.tp}, PP={split.pp} "
            f"{what}{besides}"
        )

    def as_map(self) -> dict[str, Any]:
        """Plain values."""
        shape, chosen = self.shape, self.choice.chosen
        device = self.machines.accelerator
        return {
            "model": shape.name,
            "fits": self.fits,
            "refused": self.refused,
            "engine": self.wish.engine,
            "engine_version": VERSIONS[self.wish.engine],
            "accelerator": device.name,
            "count": self.machines.count,
            "nodes": self.machines.nodes,
            "accelerator_bytes": device.memory_bytes,
            "accelerator_source": device.source,
            "architecture": shape.architecture,
            "parameters": round(parameters(shape).total),
            "weights_bytes": file_bytes(shape),
            "weights_source": shape.weights_source or "shapes",
            "quantization": self.wish.quantization
            or (shape.quantization.method if shape.quantization else "none"),
            "kv_dtype": self.wish.kv_dtype,
            "is_gated": shape.is_gated,
            **({} if chosen is None else _candidate_map(chosen)),
            "draft": None
            if self.draft is None
            else {
                "model": self.draft.shape.name,
                "method": self.draft.method,
                "tokens": self.draft.n_tokens,
            },
            "command": list(self.command),
            "notes": list(self.notes),
            "others": [_candidate_map(one) for one in self.choice.others[:_MOST_OTHERS]],
            "refusals": [_refusal_map(one) for one in self.choice.refusals],
            "instead": [
                {"option": one.option, "value": one.value, "words": one.words}
                for one in self.instead
            ],
        }


def planned(
    shape: ModelShape, machines: Machines, wish: Wish, *, draft: Draft | None = None
) -> Plan:
    """The plan for a wish. Raises `BadRequest` for a wish that makes no sense."""
    choice = choose(shape, machines, wish, draft=draft)
    fits = choice.chosen is not None
    return Plan(
        shape=shape,
        machines=machines,
        wish=wish,
        choice=choice,
        draft=draft,
        notes=notes(shape, machines, wish, choice, draft) if fits else (),
        instead=() if fits else alternatives(shape, machines, wish, draft=draft),
    )


def title(plan: Plan) -> str:
    """The engine and its version, for a person."""
    return f"{TITLES[plan.wish.engine]} {VERSIONS[plan.wish.engine]}"


def _candidate_map(one: Candidate) -> dict[str, Any]:
    split, found = one.split, one.memory
    return {
        "tp": split.tp,
        "pp": split.pp,
        "dp": split.dp,
        "ep": split.ep,
        "context_tokens": found.context_tokens,
        "memory": {
            "share": found.share,
            "weights_bytes": found.weights_bytes,
            "draft_bytes": found.draft_bytes,
            "activation_bytes": found.workspace.activation_bytes,
            "logits_bytes": found.workspace.logits_bytes,
            "latent_bytes": found.workspace.latent_bytes,
            "runtime_bytes": found.workspace.runtime_bytes,
            "cells_bytes": max(0, found.room_bytes),
            "token_bytes": found.cells.token_bytes,
            "window_token_bytes": found.cells.window_token_bytes,
            "state_bytes": found.cells.states_bytes,
            "text_bytes": found.text_bytes,
        },
        "texts_at_once": round(found.texts, 2),
        "tokens_at_once": found.tokens,
    }


def _refusal_map(one: Refusal) -> dict[str, str]:
    return {"rule": one.rule, "words": one.words, "source": one.source}


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
