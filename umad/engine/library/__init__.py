"""The llama.cpp library that engines compute with: found, looked at, remembered.

By default it is the one inside the package llama-cpp-python. The option `llama_library` names
another one: Homebrew's, a distribution's, a vendor's build for its GPUs. llama-cpp-python's
declarations stay; a library whose structs are laid out otherwise would read and write the wrong
fields, mostly without a crash. So nothing is computed with a library before a process of its own
has looked at it (`umad.engine.llamacpp.library_child`).

    choice       settles the option: a path, `auto` or nothing; puts it where children read it
    places       the places in which `auto` looks
    backends     the option `backends`: more files of ggml, in the environment too
    device_names the option `device`: which accelerators compute
    file_format  says whether a file is a shared library for this machine, from its first bytes
    asking       has a process look at a library, and brings its answer back
    accepted     AcceptedLibrary: the answer; AcceptedLibraries: the answers that are remembered

Nothing here loads a library: the daemon and the command line use it. Not: the calls of llama.cpp
(`umad.engine.llamacpp`). Owner: the main thread of a process, before it starts others.
"""
