"""What clients send, as pydantic models: a file per dialect. Not: what it means (`dialects/`)."""
