// Saves a tiny random model of each architecture that llama.cpp's own test knows.
//
//   saved_archs                                     lists them: "ARCHITECTURE VARIANT" a line
//   saved_archs ARCHITECTURE VARIANT STDEV FILE     writes one; [KEY=TYPE:VALUE]... adds metadata
//
// The shapes are those of llama.cpp's tests/test-llama-archs.cpp, which is included as it is. Its
// own `-o` leaves out what its other tests cannot run and what its saver cannot save; here a file
// has the metadata that the model was made from, so every one can be saved. Linked against the very
// library the engine loads: nothing of llama.cpp is built.
#define main main_of_the_test
#include "test-llama-archs.cpp"
#undef main

#include "../src/llama-model.h"

// What the test wants of llama.cpp's `common`, none of which is reached from here.
void common_init() {}
void common_log_add(common_log *, ggml_log_level, const char *, ...) {}
common_log * common_log_main() { return nullptr; }
void common_log_flush(common_log *) {}
int common_log_get_verbosity(ggml_log_level) { return 0; }
int common_log_get_verbosity_thold() { return 0; }
void common_log_set_verbosity_thold(int) {}
common_batch::common_batch(llama_context *) { GGML_ABORT("not reached"); }
int32_t common_batch::add(llama_token, llama_pos, llama_seq_id, bool) { GGML_ABORT("not reached"); }
void common_batch::clear() {}
llama_batch_ext * common_batch::get_sub_batch(int32_t, int32_t) { GGML_ABORT("not reached"); }

static void list() {
    for (const llm_arch & arch : llm_arch_all()) {
        if (arch == LLM_ARCH_UNKNOWN) {
            continue;
        }
        for (bool moe : {false, true}) {
            if (moe ? moe_implemented(arch) : !moe_mandatory(arch)) {
                printf("%s %s\n", llm_arch_name(arch), moe ? "moe" : "dense");
            }
        }
    }
}

static std::vector<std::string> split(const std::string & text, char mark) {
    std::vector<std::string> parts(1);
    for (char c : text) {
        if (c == mark) {
            parts.emplace_back();
        } else {
            parts.back() += c;
        }
    }
    return parts;
}

// KEY=u32:1, KEY=f32:0.5, KEY=bool:1, KEY=u32s:1,0,1
static void set(gguf_context * metadata, const std::string & argument) {
    const size_t equals = argument.find('='), colon = argument.find(':', equals);
    const std::string key = argument.substr(0, equals), value = argument.substr(colon + 1);
    const std::string type = argument.substr(equals + 1, colon - equals - 1);
    if (type == "u32") {
        gguf_set_val_u32(metadata, key.c_str(), std::stoul(value));
    } else if (type == "f32") {
        gguf_set_val_f32(metadata, key.c_str(), std::stof(value));
    } else if (type == "bool") {
        gguf_set_val_bool(metadata, key.c_str(), value == "1");
    } else if (type == "u32s") {
        std::vector<uint32_t> values;
        for (const std::string & one : split(value, ',')) {
            values.push_back(std::stoul(one));
        }
        gguf_set_arr_data(metadata, key.c_str(), GGUF_TYPE_UINT32, values.data(), values.size());
    } else {
        throw std::runtime_error("not a type: " + type);
    }
}

int main(int argc, char ** argv) {
    if (argc < 5) {
        list();
        return 0;
    }
    try {
        gguf_context_ptr metadata = get_gguf_ctx(llm_arch_from_string(argv[1]), !strcmp(argv[2], "moe"));
        for (int i = 5; i < argc; i++) {
            set(metadata.get(), argv[i]);
        }
        llama_model_params params = llama_model_default_params();
        params.progress_callback = silent_model_load_progress;
        tensor_data_params drawn = { 42, std::stof(argv[3]) };
        llama_model_ptr model(llama_model_init_from_user(metadata.get(), set_tensor_data, &drawn, params));
        if (!model) {
            return 1;
        }
        gguf_context_ptr file(gguf_init_empty());
        gguf_set_kv(file.get(), metadata.get());
        for (const auto & [name, tensor] : llama_internal_get_tensor_map(model.get())) {
            if (gguf_find_tensor(file.get(), tensor->name) < 0) {  // some layers share theirs
                gguf_add_tensor(file.get(), tensor);
            }
        }
        return gguf_write_to_file(file.get(), argv[4], false) ? 0 : 1;
    } catch (const std::exception & error) {
        fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
