/* Ends a step of llama.cpp between two layers, on any device.

   ggml's scheduler asks a callback before every node of a graph. Where it says yes, the device
   finishes all up to that node, and the callback is called again: no then ends the graph. In
   Python this would take the interpreter's lock at every node, some thousand times a step.

   Built by gate_file.py. gate.py has the same struct. */

#include <stdbool.h>
#include <string.h>

struct gate {
    const volatile char *wants_cut; /* not 0: end the step (abort_flag.py) */
    const char *(*name_of)(const void *tensor); /* ggml_get_name */
    int every;   /* look after every so many layers; 0: never */
    int last;    /* but not at this end of a layer: hardly anything is left of the step */
    int n_ends;  /* layers of this step that have ended */
    int n_looks; /* how often the device was waited for */
    int was_cut; /* llama_decode does not tell */
};

bool umad_gate(void *tensor, bool asks, void *data)
{
    struct gate *gate = data;
    if (asks) {
        if (gate->was_cut)
            return true; /* a graph may have more parts, and this ends each at its first node */
        /* llama.cpp's name of what a layer gives to the next one, with the layer's number. */
        if (!gate->every || strncmp(gate->name_of(tensor), "l_out-", 6) != 0)
            return false;
        gate->n_ends++;
        return gate->n_ends % gate->every == 0 && gate->n_ends != gate->last;
    }
    gate->n_looks++;
    if (gate->was_cut || *gate->wants_cut) {
        gate->was_cut = 1;
        return false;
    }
    return true;
}
