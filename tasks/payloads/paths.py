"""Paths in payloads: text that names a file of the worker's host. Whether it may is for the worker's roots to say."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from tasks.contacts import one_line


def _no_way_up(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError("must not contain '..'")
    return path


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("must be an absolute path")
    return path


# A longer one could take seconds to be understood.
PatternText = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(one_line), AfterValidator(_no_way_up)]
PathText = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(one_line), AfterValidator(_no_way_up)]
AbsolutePath = Annotated[PathText, AfterValidator(_absolute)]
