"""Reads how a model's positions are to be scaled where that is not as its file says.

The options have llama-server's names, so that its command lines work: `rope_scaling`, `rope_scale`,
`rope_freq_base`, `rope_freq_scale` and `yarn_…`. llama.cpp takes any of them for any model, and
answers nonsense where they do not belong together. Here each combination either means one thing or
is refused by the name of the option: by itself (`contradiction`), or with a file (`Rope.check`).
Not: how far a text goes then (`positions`). Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from umad.config import EngineSettings, RopeScaling
from umad.errors import ModelLoadFailed
from umad.models.gguf import GgufHeader

# llama.cpp's, where neither the file nor the options say others.
_BETA_FAST, _BETA_SLOW = 32.0, 1.0
_LINEAR, _YARN, _NONE = "linear", "yarn", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """What the options say of the positions. None leaves it to the file."""

    scaling: RopeScaling | None = None
    freq_base: float | None = None
    # 1 / factor: 0.25 stretches a text to four times its length.
    freq_scale: float | None = None
    yarn_orig_ctx: int | None = None
    yarn_ext_factor: float | None = None
    yarn_attn_factor: float | None = None
    yarn_beta_fast: float | None = None
    yarn_beta_slow: float | None = None
    # The option that `freq_scale` was given by, for errors.
    scale_option: str = field(default="rope_freq_scale", compare=False)

    @classmethod
    def of(cls, settings: EngineSettings) -> "Rope":
        """What the settings say."""
        scale = settings.rope_freq_scale
        if settings.rope_scale is not None:
            scale = 1.0 / settings.rope_scale
        return cls(
            scale_option="rope_freq_scale" if settings.rope_scale is None else "rope_scale",
            scaling=settings.rope_scaling,
            freq_base=settings.rope_freq_base,
            freq_scale=scale,
            yarn_orig_ctx=settings.yarn_orig_ctx,
            yarn_ext_factor=settings.yarn_ext_factor,
            yarn_attn_factor=settings.yarn_attn_factor,
            yarn_beta_fast=settings.yarn_beta_fast,
            yarn_beta_slow=settings.yarn_beta_slow,
        )

    def words(self) -> str:
        """Everything that is said, as text: computed cells hang on it. Empty where nothing is."""
        return ", ".join(f"{name} {value}" for name, value in self._said())

    def scaling_in(self, header: GgufHeader) -> str:
        """The scaling in force: what was asked for, else the file's, which is linear if it does not
        say.
        """
        return self.scaling or _text(header, "rope.scaling.type") or _LINEAR

    def check(self, header: GgufHeader, *, has_rope: bool) -> None:
        """Raise `ModelLoadFailed` where the file's model cannot do what is said.

        has_rope: llama.cpp turns this model's queries and keys by their positions.
        """
        if not self.words():
            return
        if not has_rope:
            raise _refused(
                f"{self._first()} is for models whose positions are rotated (RoPE), and "
                f"{header.architecture} has other positions or none"
            )
        in_file = _text(header, "rope.scaling.type")
        if in_file not in ("", _NONE, _LINEAR, _YARN) and (self.scaling or self.freq_scale):
            raise _refused(
                f"{self._first()} contradicts the file, which has factors of its own ({in_file})"
            )
        if self.scaling in (_LINEAR, _YARN) and in_file in (_LINEAR, _YARN):
            factor = header.own("rope.scaling.factor")
            scales = isinstance(factor, int | float) and factor not in (0, 1)
            if scales and in_file != self.scaling:
                raise _refused(
                    f"rope_scaling {self.scaling} contradicts the file, whose model was trained "
                    f"with {in_file}; leave it out, or say none"
                )
        scaling = self.scaling_in(header)
        if scaling != _YARN and (name := self.first_of_yarn()):
            raise _refused(
                f"{name} is for YaRN, and the scaling is {scaling}: say rope_scaling yarn"
            )
        if scaling == _YARN:
            self._check_yarn(header)

    def _check_yarn(self, header: GgufHeader) -> None:
        if self.scaling == _YARN and self.freq_scale is None and file_factor(header) <= 1:
            raise _refused("rope_scaling yarn needs rope_scale: the file names no factor")
        original = header.own("rope.scaling.original_context_length")
        trained = header.own("context_length")
        if self.yarn_orig_ctx is not None:
            if isinstance(original, int) and original not in (0, self.yarn_orig_ctx):
                raise _refused(
                    f"yarn_orig_ctx {self.yarn_orig_ctx} contradicts the {original} of the file"
                )
            if isinstance(trained, int) and self.yarn_orig_ctx > trained:
                raise _refused(
                    f"yarn_orig_ctx {self.yarn_orig_ctx} is beyond the {trained} tokens of the file"
                )
        fast = _first(self.yarn_beta_fast, header.own("rope.scaling.yarn_beta_fast"), _BETA_FAST)
        slow = _first(self.yarn_beta_slow, header.own("rope.scaling.yarn_beta_slow"), _BETA_SLOW)
        if fast <= slow:
            name = "yarn_beta_fast" if self.yarn_beta_fast is not None else "yarn_beta_slow"
            raise _refused(f"{name}: beta_fast ({fast:g}) must be above beta_slow ({slow:g})")

    def _said(self) -> Iterator[tuple[str, object]]:
        """Name and value of everything that is said."""
        for one in fields(self):
            value = getattr(self, one.name)
            if one.compare and value is not None:
                yield one.name, value

    def _first(self) -> str:
        """The option of the first thing that is said."""
        name, _ = next(self._said())
        if name == "freq_scale":
            return self.scale_option
        return name if name.startswith("yarn_") else f"rope_{name}"

    def first_of_yarn(self) -> str:
        """The first option that only YaRN has; empty where none is given."""
        return next((name for name, _ in self._said() if name.startswith("yarn_")), "")


def contradiction(settings: EngineSettings) -> tuple[str, str] | None:
    """The option that contradicts another one whatever the model, and why; None where none does."""
    rope = Rope.of(settings)
    if settings.rope_scale is not None and settings.rope_freq_scale is not None:
        return "rope_scale", "rope_scale and rope_freq_scale say the same thing; give one of them"
    if rope.scaling == _NONE and rope.freq_scale is not None:
        return rope.scale_option, f"{rope.scale_option} scales, and rope_scaling is none"
    if rope.scaling in (_NONE, _LINEAR) and (name := rope.first_of_yarn()):
        return name, f"{name} is for YaRN, and rope_scaling is {rope.scaling}"
    fast, slow = rope.yarn_beta_fast, rope.yarn_beta_slow
    if fast is not None and slow is not None and fast <= slow:
        return "yarn_beta_fast", (
            f"yarn_beta_fast ({fast:g}) must be above yarn_beta_slow ({slow:g})"
        )
    return None


def file_factor(header: GgufHeader) -> float:
    """The factor by which the file stretches texts; 1 where it does not."""
    factor = header.own("rope.scaling.factor")
    if factor is None:
        factor = header.own("rope.scale_linear")  # of older files
    return float(factor) if isinstance(factor, int | float) and factor > 0 else 1.0


def _text(header: GgufHeader, key: str) -> str:
    value = header.own(key)
    return value if isinstance(value, str) else ""


def _first(*values: object) -> float:
    return next(float(one) for one in values if isinstance(one, int | float))


def _refused(reason: str) -> ModelLoadFailed:
    return ModelLoadFailed(reason)
