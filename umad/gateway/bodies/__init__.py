"""Describes what clients send as pydantic models: a file per dialect.

Not: what a body means (`dialects/`).
"""
