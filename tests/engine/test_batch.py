import numpy as np

from umad.engine.llamacpp.batch import PlanWriter
from umad.step import DecodeSlice, GuessSlice, PrefillSlice, StepPlan


def slice_of(rid: int, seq: int, start: int, n: int, *, wants_logits: bool) -> PrefillSlice:
    tokens = np.arange(100, 100 + n, dtype=np.int32)
    return PrefillSlice(rid=rid, seq=seq, start=start, tokens=tokens, wants_logits=wants_logits)


def test_decode_rows_come_first_and_each_slice_counts_on_from_its_start() -> None:
    writer = PlanWriter(16, scratch=15)
    plan = StepPlan(
        decode=(
            DecodeSlice(rid=1, seq=5, position=40, token=7),
            DecodeSlice(rid=2, seq=6, position=3, token=8),
        ),
        prefill=(
            slice_of(3, 2, 10, 3, wants_logits=False),
            slice_of(4, 9, 0, 2, wants_logits=True),
        ),
    )

    rids = writer.write(plan)

    batch = writer.batch
    assert rids == [1, 2, 4]
    assert batch.struct.n_tokens == plan.n_rows == 7
    assert batch.token[:7].tolist() == [7, 8, 100, 101, 102, 100, 101]
    assert batch.pos[:7].tolist() == [40, 3, 10, 11, 12, 0, 1]
    assert batch.seq[:7].tolist() == [5, 6, 2, 2, 2, 9, 9]
    assert batch.wants_logits[:7].tolist() == [1, 1, 0, 0, 0, 0, 1]


def test_nothing_of_a_plan_is_left_in_the_next_one() -> None:
    writer = PlanWriter(8, scratch=15)
    writer.write(StepPlan(prefill=(slice_of(1, 3, 0, 8, wants_logits=True),)))

    rids = writer.write(StepPlan(prefill=(slice_of(2, 1, 4, 8, wants_logits=False),)))

    assert rids == []
    assert writer.batch.wants_logits.tolist() == [0] * 8
    assert writer.batch.pos.tolist() == list(range(4, 12))


def test_guesses_stand_behind_all_prompts_and_each_has_a_row_of_logits() -> None:
    writer = PlanWriter(16, scratch=15)
    plan = StepPlan(
        decode=(
            DecodeSlice(rid=1, seq=5, position=40, token=7),
            DecodeSlice(rid=2, seq=6, position=3, token=8),
        ),
        prefill=(slice_of(4, 9, 0, 2, wants_logits=True),),
        guesses=(GuessSlice(rid=2, seq=6, start=4, tokens=(20, 21, 22)),),
    )

    rids = writer.write(plan)

    batch = writer.batch
    assert rids == [1, 2, 4]
    assert batch.struct.n_tokens == plan.n_rows == 7
    assert batch.token[:7].tolist() == [7, 8, 100, 101, 20, 21, 22]
    assert batch.pos[:7].tolist() == [40, 3, 0, 1, 4, 5, 6]
    assert batch.seq[:7].tolist() == [5, 6, 9, 9, 6, 6, 6]
    assert batch.wants_logits[:7].tolist() == [1, 1, 0, 1, 1, 1, 1]


def test_rows_of_nobody_come_last_and_ask_for_nothing() -> None:
    writer = PlanWriter(8, scratch=15)

    rids = writer.write(StepPlan(prefill=(slice_of(1, 3, 40, 3, wants_logits=True),), n_padding=4))

    batch = writer.batch
    assert rids == [1]
    assert batch.struct.n_tokens == 7
    assert batch.pos[:7].tolist() == [40, 41, 42, 0, 1, 2, 3]
    assert batch.seq[:7].tolist() == [3, 3, 3, 15, 15, 15, 15]
    assert batch.wants_logits[:7].tolist() == [0, 0, 1, 0, 0, 0, 0]


def test_a_batch_without_an_output_has_one_for_nobody_where_llama_cpp_wants_one() -> None:
    writer = PlanWriter(8, scratch=15, wants_output=True)

    between = writer.write(StepPlan(prefill=(slice_of(1, 3, 0, 4, wants_logits=False),)))
    wanted = writer.batch.wants_logits[:4].tolist()
    last = writer.write(StepPlan(prefill=(slice_of(1, 3, 4, 4, wants_logits=True),)))

    assert (between, wanted) == ([], [0, 0, 0, 1])
    assert last == [1]
    assert writer.batch.wants_logits[:4].tolist() == [0, 0, 0, 1]


def test_what_llama_cpp_reads_is_what_was_written() -> None:
    writer = PlanWriter(4, scratch=15)
    writer.write(StepPlan(decode=(DecodeSlice(rid=1, seq=5, position=40, token=7),)))

    struct = writer.batch.struct

    assert struct.token[0] == 7
    assert struct.pos[0] == 40
    assert struct.n_seq_id[0] == 1
    assert struct.seq_id[0][0] == 5
    assert struct.logits[0] == 1
