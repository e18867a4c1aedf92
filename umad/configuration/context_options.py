"""Lists the options that shape a model's context (cells, streams, windows, positions), those that
place its tensors and its projector, and those that name the library and its backends. A part of
`options`. Pure.

Positions have llama-server's names and take its words for "as in the file" (0 or -1), so that its
command lines work.
"""

from umad.configuration.kinds import (
    DEVICE,
    LIBRARY,
    PATH,
    PROJECTOR,
    TEXT,
    choice,
    from_file,
    whole,
)
from umad.configuration.option import Option, engine_option

LLAMA_LIBRARY = Option(
    name="llama_library",
    target=("llama_library",),
    kind=LIBRARY,
    help="The llama.cpp library to compute with: its file or folder, or auto.",
    effect="Unset, it is the one inside llama-cpp-python. Another one is looked at before it is "
    "used, and refused in one line where its version or its structs differ. auto takes the first "
    "that fits of $LLAMA_CPP_LIB_PATH, Homebrew's and the system's, else llama-cpp-python's, and "
    "says which.",
    example="/opt/homebrew/lib/libllama.dylib",
)
BACKENDS = Option(
    name="backends",
    target=("backends",),
    kind=PATH,
    help="Files of more backends of ggml, for a GPU perhaps; may be given several times.",
    effect="They are loaded into the library that computes, and have to be built of the same "
    "llama.cpp with GGML_BACKEND_DL. A file that is none is refused, with the devices that there "
    "are. ggml's own variable GGML_BACKEND_PATH names one more.",
    example="[/opt/ggml/libggml-vulkan.so]",
)
CONTEXT: tuple[Option, ...] = (
    engine_option(
        "ctx_size",
        whole(256, 16_777_216, unit="KV cells", word="auto", also="0"),
        "KV cells of the pool all streams share.",
        "More cells hold longer and more conversations, and take more memory. auto is the model's "
        "longest text, at least 65536 or four such texts, more within a quarter of the memory, and "
        "fewer, down to 4096, where memory has no room beside other models and parking.",
        shown=True,
    ),
    engine_option(
        "swa_full",
        choice("auto", "on", "off"),
        "Layers with a sliding window get cells for the whole pool.",
        "off keeps each stream's window instead, a fraction of the memory (Gemma 3, gpt-oss). auto "
        "is off, unless the model's states cannot be saved, or there is nowhere to keep them.",
        shown=True,
    ),
    engine_option(
        "ctx_per_stream",
        whole(16, 16_777_216, unit="tokens", word="auto"),
        "The most tokens of one stream, prompt and answer together.",
        "auto is the length the model was trained on, or the one its file scales its positions to, "
        "as far as the pool has cells. A number stands in its place: a smaller one keeps a single "
        "conversation from taking the pool, a larger one goes beyond the training, where models "
        "write worse.",
        shown=True,
    ),
    engine_option(
        "max_seqs",
        whole(1, 256, unit="sequences", word="auto"),
        "Streams and kept prefixes at once.",
        "Fewer make further requests wait, and fewer conversations stay ready in the pool. auto is "
        "64, or fewer where each takes much memory: in models with recurrent layers, and with "
        "swa_full off.",
        shown=True,
    ),
    engine_option(
        "rope_scaling",
        choice("none", "linear", "yarn", word="auto"),
        "How positions are scaled, for models with RoPE.",
        "auto is as the file says. yarn or linear, with rope_scale, lets a model read longer "
        "texts than it was trained on, and write worse; none turns off the file's own scaling.",
    ),
    engine_option(
        "rope_scale",
        from_file(1, 1000, unit="times the original text", means=0),
        "The factor by which texts may be longer.",
        "4 makes four times the original length of a model that was trained for it. auto is the "
        "factor in the file.",
    ),
    engine_option(
        "rope_freq_scale",
        from_file(0.001, 1, unit="1 / factor", means=0),
        "The same factor as rope_scale, written as 1/N.",
        "0.25 is a rope_scale of 4. Only one of the two may be given.",
    ),
    engine_option(
        "rope_freq_base",
        from_file(1, 1e12, unit="a base", means=0),
        "The base of RoPE's frequencies.",
        "A higher one turns positions slower. auto is the base that the model was trained with; "
        "with another one most models write worse.",
    ),
    engine_option(
        "yarn_orig_ctx",
        whole(16, 16_777_216, unit="tokens", word="auto", also="0"),
        "YaRN: the context before the stretching.",
        "auto is what the file says, or the length that the model was trained on.",
    ),
    engine_option(
        "yarn_ext_factor",
        from_file(0, 1, unit="a share", means=-1),
        "YaRN: how much is extrapolated.",
        "0 interpolates everything, which is linear scaling. auto is 1, or what the file says.",
    ),
    engine_option(
        "yarn_attn_factor",
        from_file(0.01, 100, unit="a factor", means=-1),
        "YaRN: scales what attention reads.",
        "auto is 1, or what the file says.",
    ),
    engine_option(
        "yarn_beta_fast",
        from_file(0.01, 10_000, unit="rotations", means=-1),
        "YaRN: dimensions that turn more often in the original context are not scaled.",
        "auto is 32, or what the file says.",
    ),
    engine_option(
        "yarn_beta_slow",
        from_file(0.01, 10_000, unit="rotations", means=-1),
        "YaRN: dimensions that turn less often in the original context are scaled in full.",
        "auto is 1, or what the file says.",
    ),
)

PLACEMENT: tuple[Option, ...] = (
    engine_option(
        "mmproj",
        PROJECTOR,
        "The projector of the models that are named here: what lets them see and hear.",
        "auto is the one that was fetched with a model, or lies beside it alone; none keeps "
        "models to texts. It is loaded with the first image or sound. One of another model is "
        "refused.",
        shown=True,
    ),
    engine_option(
        "device",
        DEVICE,
        "The devices that compute besides the processor, by the names that umad doctor shows.",
        "auto takes all GPUs as llama.cpp does; none leaves everything to the processor. A name "
        "that no device has is refused, with those that there are.",
        shown=True,
    ),
    engine_option(
        "n_cpu_moe",
        whole(0, 512, unit="layers"),
        "Layers whose experts stay in the machine's memory.",
        "An accelerator then needs room for the rest only. With mmap these experts are read from "
        "the file as they are used, so a model larger than the memory runs, slowly.",
    ),
    engine_option(
        "override_tensor",
        TEXT,
        "Where tensors lie: PATTERN=BUFFER, with commas between several.",
        "As llama.cpp's --override-tensor: the first pattern found in a tensor's name decides.",
        example=r"\.ffn_.*_exps=CPU",
    ),
)
