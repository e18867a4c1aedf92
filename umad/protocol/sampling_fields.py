"""Reads the fields that say how tokens are drawn, of generations and of presets. Pure."""

from collections.abc import Mapping

from umad.protocol import fields
from umad.protocol.fields import FieldReader

READERS: Mapping[str, FieldReader] = {
    "temperature": fields.read_number,
    "top_k": fields.read_integer,
    "top_p": fields.read_number,
    "min_p": fields.read_number,
    "typical_p": fields.read_number,
    "repetition_penalty": fields.read_number,
    "frequency_penalty": fields.read_number,
    "presence_penalty": fields.read_number,
    "penalty_last_n": fields.read_integer,
    "logit_bias": fields.read_logit_bias,
    "seed": fields.read_integer,
    "max_tokens": fields.read_integer,
    "stop": fields.read_stop,
    "logprobs": fields.read_integer,
    "prompt_logprobs": fields.read_integer,
    "ignore_eos": fields.read_flag,
    "fit": fields.read_flag,
}
