"""Says in words what a model is made of, for a person. Pure."""

from umad.scale.shape import Attention, Experts, ModelShape


def mixer_words(shape: ModelShape) -> str:
    """The kinds of mixers, such as "28 layers of GQA, 4 KV heads of 128"."""
    parts = []
    if shape.latents:
        one = shape.latents[0]
        parts.append(f"{len(shape.latents)} layers of MLA, {one.token_values} values a token")
    for is_short in (False, True):
        chosen = [one for one in shape.attentions if bool(one.reach_tokens) is is_short]
        if chosen:
            first = chosen[0]
            reach = f" that see {first.reach_tokens:,} tokens" if is_short else ""
            parts.append(
                f"{len(chosen)} layers of {_kind(first)}{reach}, "
                f"{first.n_kv_heads} KV heads of {first.head_dim}"
            )
    if shape.recurrences:
        parts.append(f"{len(shape.recurrences)} recurrent layers ({shape.recurrences[0].kind})")
    return "; ".join(parts)


def feed_words(shape: ModelShape) -> str:
    """The experts; "" for a dense model."""
    if not shape.experts:
        return ""
    one: Experts = shape.experts[0]
    shared = ", and shared ones" if one.shared_width else ""
    return f"{one.n_experts} experts, {one.n_used} a token{shared}"


def _kind(one: Attention) -> str:
    if one.n_kv_heads == one.n_heads:
        return "MHA"
    return "MQA" if one.n_kv_heads == 1 else "GQA"
