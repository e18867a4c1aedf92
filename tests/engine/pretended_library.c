/* A library with llama.cpp's names that computes nothing, for tests of what is looked at first.

   Each test changes one thing by a macro:
     VERSION            its version; NO_VERSION: it has no such function
     GROWN              llama_context_params has one field more at its end
     SHORTER            ... and one less
     INSERTED           a field stands before n_seq_max
     SWAPPED            n_batch and n_ubatch have changed places
     FLAG_INSERTED      a flag stands before no_perf
     WIDE_BATCH         llama_batch counts its tokens in 64 bits
     DIES, HANGS        llama_model_default_params does not return
     NO_DEVICES         ggml has none
     DEVICES_BESIDE     ggml has one once it has found libggml-cpu.so in the working folder
   STUBS has the other functions, one a line. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

struct model_params {
    void *devices, *overrides;
    int32_t n_gpu_layers, split_mode, load_mode, lazy_mode, main_gpu;
    void *tensor_split, *progress, *progress_data, *kv_overrides;
    bool vocab_only, check_tensors, use_extra_bufts, no_host, no_alloc, load_mtp;
};
struct context_params {
#ifdef SWAPPED
    uint32_t n_ctx, n_ubatch, n_batch;
#else
    uint32_t n_ctx, n_batch, n_ubatch;
#endif
#ifdef INSERTED
    uint32_t inserted;
#endif
    uint32_t n_seq_max, n_rs_seq, n_outputs_max, n_outputs_max_per_seq;
    int32_t n_threads, n_threads_batch, ctx_type, rope_scaling, pooling, attention, flash_attn;
    float rope_freq_base, rope_freq_scale, yarn_ext, yarn_attn, yarn_fast, yarn_slow;
    uint32_t yarn_orig_ctx;
    float defrag;
    void *cb_eval, *cb_eval_data;
    int32_t type_k, type_v;
    void *abort, *abort_data;
    bool embeddings, offload_kqv;
#ifdef FLAG_INSERTED
    bool inserted_flag;
#endif
    bool no_perf, op_offload, swa_full, kv_unified;
    void *samplers;
    size_t n_samplers;
#ifndef SHORTER
    void *ctx_other;
#endif
#ifdef GROWN
    void *grown;
#endif
};
struct quantize_params {
    int32_t nthread, ftype, output_type, embedding_type;
    bool allow, output, only_copy, pure, keep_split, dry_run;
    void *imatrix, *kv_overrides, *tt_overrides, *prune;
    size_t most;
};
struct batch {
#ifdef WIDE_BATCH
    int64_t n_tokens;
    int64_t n_embd;
#else
    int32_t n_tokens;
#endif
    void *token, *embd, *pos, *n_seq_id, *seq_id, *logits;
};

#ifndef NO_VERSION
const char *llama_version(void) { return VERSION; }
#endif
size_t llama_max_devices(void) { return 16; }
#if defined(NO_DEVICES)
size_t ggml_backend_dev_count(void) { return 0; }
#elif defined(DEVICES_BESIDE)
static size_t found;
void ggml_backend_load_all(void) { found = access("libggml-cpu.so", F_OK) == 0; }
size_t ggml_backend_dev_count(void) { return found; }
#else
size_t ggml_backend_dev_count(void) { return 1; }
#endif

struct model_params llama_model_default_params(void) {
#ifdef DIES
    abort();
#endif
#ifdef HANGS
    for (;;) sleep(1);
#endif
    struct model_params one = {.n_gpu_layers = -1, .split_mode = 1, .load_mode = -1, .lazy_mode = 1,
                               .use_extra_bufts = true};
    return one;
}

struct context_params llama_context_default_params(void) {
    struct context_params one = {.n_ctx = 512, .n_batch = 2048, .n_ubatch = 512, .n_seq_max = 1,
                                 .n_outputs_max_per_seq = 1, .n_threads = 4, .n_threads_batch = 4,
                                 .rope_scaling = -1, .pooling = -1, .attention = -1,
                                 .flash_attn = -1, .yarn_ext = -1, .yarn_attn = -1, .yarn_fast = -1,
                                 .yarn_slow = -1, .defrag = -1, .type_k = 1, .type_v = 1,
                                 .offload_kqv = true, .no_perf = true, .op_offload = true,
                                 .swa_full = true};
    return one;
}

struct quantize_params llama_model_quantize_default_params(void) {
    struct quantize_params one = {.ftype = 7, .output_type = 43, .embedding_type = 43,
                                  .output = true, .most = 8ull << 30};
    return one;
}

struct batch llama_batch_get_one(void *tokens, int32_t n_tokens) {
    struct batch one = {.n_tokens = n_tokens, .token = tokens};
    return one;
}

STUBS
