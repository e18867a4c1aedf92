"""Finds models that other programs have put on this machine.

Each place is read as its program lays it out, and nothing is ever written there: no file, no
folder, no time of access that we could help. What is found is served where it lies.

    listing          what a place tells: models, and the paths that say when to look again
    hugging_face     the cache of the Hugging Face hub, which llama.cpp uses too
    llama_cpp_cache  llama.cpp's own cache, before it used the hub's
    ollama           Ollama's manifests and blobs
    lm_studio        LM Studio's folder of publishers
    folder           a folder of GGUF files that the configuration names

A place asks the file system for names and sizes alone. Only `ollama` reads files, which are small;
no header is read here. A place that is not there has no models. Owner: whoever holds the
`umad.models.library`; nothing here has state, any thread may call it.
"""
