"""Runs lm-evaluation-harness on a server, and llama-server on the same tokens. A program.

    python scores.py UMAD_URL LLAMA_SERVER_URL FOLDER

It runs in an environment of its own, in which umad is not installed. FOLDER has the task's file and
the model's tokenizer. It prints JSON: for each answer of each question the two log-likelihoods.
llama-server does not echo log-probabilities, so it is asked for those of every token of the
vocabulary, one position after another.
"""

import json
import sys
from typing import Any

import lm_eval
import requests
from lm_eval.tasks import TaskManager
from transformers import AutoTokenizer


def by_harness(url: str, folder: str) -> list[dict[str, Any]]:
    """The harness's own log-likelihoods, sample by sample."""
    found = lm_eval.simple_evaluate(
        model="local-completions",
        model_args={
            "model": "nano",
            "base_url": f"{url}/v1/completions",
            "tokenizer": folder,
            "tokenized_requests": True,
            "num_concurrent": 2,
            "max_retries": 1,
            "max_length": 512,
        },
        tasks=["umad_tiny"],
        task_manager=TaskManager(include_path=folder, include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
    )
    samples: list[dict[str, Any]] = found["samples"]["umad_tiny"]
    return samples


def by_llama_server(url: str, context: list[int], answer: list[int]) -> float:
    """The log-likelihood of `answer` behind `context`."""
    total = 0.0
    for at, token in enumerate(answer):
        prompt = [*context, *answer[:at]]
        body: dict[str, Any] = {"prompt": prompt, "n_predict": 1, "n_probs": 5120, "temperature": 0}
        said = requests.post(f"{url}/completion", json=body, timeout=60)
        (row,) = said.json()["completion_probabilities"]
        total += next(one["logprob"] for one in row["top_logprobs"] if one["id"] == token)
    return total


def main() -> None:
    umad, peer, folder = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pairs = []
    for sample in by_harness(umad, folder):
        for arguments, answers in zip(sample["arguments"], sample["resps"], strict=True):
            before, text = arguments[0], arguments[1]
            whole = tokenizer.encode(before + text, add_special_tokens=False)
            context = tokenizer.encode(before, add_special_tokens=False)
            theirs = by_llama_server(peer, context, whole[len(context) :])
            pairs.append({"text": before + text, "umad": answers[0][0], "peer": theirs})
    print(json.dumps(pairs))


if __name__ == "__main__":
    main()
