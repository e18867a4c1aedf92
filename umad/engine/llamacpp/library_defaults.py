"""The defaults that llama.cpp gives its structs, field by field, as its version 0.5 has them.

They tell where a library has its fields: a field that was added, removed or moved puts other
values in these places. umad also relies on those that it leaves as they are. A test holds the table
against the library inside llama-cpp-python. Pointers are numbers here; no default points anywhere.
Not: how a library is asked (`library_layout`).
"""

# MAJOR.MINOR of llama.cpp: what these tables and umad's calls were written for.
LLAMA_VERSION = "0.5"

MODEL: dict[str, float] = {
    "devices": 0,
    "tensor_buft_overrides": 0,
    "n_gpu_layers": -1,
    "split_mode": 1,  # LLAMA_SPLIT_MODE_LAYER
    "load_mode": -1,  # LLAMA_LOAD_MODE_AUTO
    "lazy_mode": 1,  # LLAMA_LAZY_MODE_AUTO
    "main_gpu": 0,
    "tensor_split": 0,
    "progress_callback": 0,
    "progress_callback_user_data": 0,
    "kv_overrides": 0,
    "vocab_only": 0,
    "check_tensors": 0,
    "use_extra_bufts": 1,
    "no_host": 0,
    "no_alloc": 0,
    "load_mtp": 0,
}
CONTEXT: dict[str, float] = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_rs_seq": 0,
    "n_outputs_max": 0,
    "n_outputs_max_per_seq": 1,
    "n_threads": 4,  # GGML_DEFAULT_N_THREADS
    "n_threads_batch": 4,
    "ctx_type": 0,
    "rope_scaling_type": -1,
    "pooling_type": -1,
    "attention_type": -1,
    "flash_attn_type": -1,
    "rope_freq_base": 0,
    "rope_freq_scale": 0,
    "yarn_ext_factor": -1,
    "yarn_attn_factor": -1,
    "yarn_beta_fast": -1,
    "yarn_beta_slow": -1,
    "yarn_orig_ctx": 0,
    "defrag_thold": -1,
    "cb_eval": 0,
    "cb_eval_user_data": 0,
    "type_k": 1,  # GGML_TYPE_F16
    "type_v": 1,
    "abort_callback": 0,
    "abort_callback_data": 0,
    "embeddings": 0,
    "offload_kqv": 1,
    "no_perf": 1,
    "op_offload": 1,
    "swa_full": 1,
    "kv_unified": 0,
    "samplers": 0,
    "n_samplers": 0,
    "ctx_other": 0,
}
QUANTIZE: dict[str, float] = {
    "nthread": 0,
    "ftype": 7,  # LLAMA_FTYPE_MOSTLY_Q8_0
    "output_tensor_type": 43,  # GGML_TYPE_COUNT: the number of types that ggml has
    "token_embedding_type": 43,
    "allow_requantize": 0,
    "quantize_output_tensor": 1,
    "only_copy": 0,
    "pure": 0,
    "keep_split": 0,
    "dry_run": 0,
    "imatrix": 0,
    "kv_overrides": 0,
    "tt_overrides": 0,
    "prune_layers": 0,
    "max_buf_size": 8 * 2**30,
}
# Of mtmd, the library for images and sounds. `media_marker` points to a text of the library's.
MEDIA: dict[str, float] = {
    "use_gpu": 1,
    "device": 0,
    "print_timings": 1,
    "n_threads": 4,
    "image_marker": 0,
    "flash_attn_type": -1,  # LLAMA_FLASH_ATTN_TYPE_AUTO
    "warmup": 1,
    "image_min_tokens": -1,
    "image_max_tokens": -1,
    "cb_eval": 0,
    "cb_eval_user_data": 0,
    "batch_max_tokens": 1024,
    "progress_callback": 0,
    "progress_callback_user_data": 0,
}
