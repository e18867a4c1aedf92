"""Serves OpenAI's API: chat completions, completions, responses, embeddings, audio, models.

    audio                                  POST /v1/audio/transcriptions and /v1/audio/translations
    audio_chat                             the same by models of chats that hear
    chat, chat_stream                      POST /v1/chat/completions, whole and in pieces
    codex_models                           models as Codex reads them in GET /v1/models
    completions                            POST /v1/completions
    embeddings                             POST /v1/embeddings and /v1/rerank
    input_tokens                           counts a prompt's tokens without an answer
    models                                 GET /v1/models
    responses                              POST /v1/responses; responses_history: the items of its
                                           conversation; responses_items: those as turns;
                                           responses_writer: its events; responses_kept: reads,
                                           lists and deletes stored responses
    turns, usage, logprobs, error_shape    shapes that these have in common

Not: other dialects; nothing of theirs is imported.
"""
