"""Knows models: which there are on this machine, what their files say, and where others come from.

Not: llama.cpp, engines, or who may ask for a model. Nothing here loads a model.

    gguf    GgufHeader: metadata and tensors of a GGUF file
    whisper WhisperHeader: the header of a Whisper model, which is no GGUF
    positions  positions of a text: how many there are, how many one stream may use, and from which
               context size they differ
    rope    how positions are scaled where the options say other than the file
    sizes   a model's costs: bytes a token touches, bytes a KV cell takes
    adapters  AdapterFacts: what a header says of a LoRA adapter, and whether it fits a model
    facts   what a header says of a model: parameters, quantization, licence, template

    reference  ModelReference: what users write to name a model
    catalogue  well-known models by short names; catalogue_file reads config/models.yaml
    projectors  the projector that belongs to a model's file; drafts: files that may be its draft
    files   ModelFiles: the files of one model, held against one another
    found   FoundModel: a model that lies here and can be served
    places  other programs' models (a package)
    store   what umad keeps itself; index: what can be found out again
    library every model of this machine under a name of its own
    ollama_layout  models of Ollama's registry as Ollama lays them out, and what their makers say
    removal removes a model of the store; verifying looks at every byte of one; copying gives one a
            second name
    meant   what is fetched for a name of the catalogue
    presets presets that were saved over a socket or HTTP
    hub_search  searches the Hugging Face hub
    fetching    fetches models, for `umad pull` and the processes of jobs (a package)

Values and reads of small parts of files, but for store, index, removal, copying and presets, which
write in umad's own folders and in no other program's.
"""
