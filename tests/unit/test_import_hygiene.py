"""What may not be loaded, proved at run time: a linter sees only static imports."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import cloudq_tui

ROOT = Path(__file__).parents[2]
BELOW_THE_DASHBOARD = (
    "models",
    "settings",
    "redis_server",
    "engine",
    "services",
    "worker",
    "api",
    "bootstrap",
    "errors",
)


def loaded_by(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after `statement`."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def modules_of(package: str) -> list[str]:
    names = [f"cloudq_tui.{package}"]
    folder = Path(cloudq_tui.__path__[0], package)
    if folder.is_dir():
        names += [found.name for found in pkgutil.walk_packages([str(folder)], f"{names[0]}.")]
    return [name for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize("package", BELOW_THE_DASHBOARD)
def test_nothing_below_the_dashboard_draws(package: str) -> None:
    assert {"textual", "rich"}.isdisjoint(loaded_by(f"import {', '.join(modules_of(package))}"))


@pytest.mark.parametrize("package", ["models", "settings", "engine", "services", "api"])
def test_only_the_worker_speaks_huey(package: str) -> None:
    assert {"huey", "tasks"}.isdisjoint(loaded_by(f"import {', '.join(modules_of(package))}"))


@pytest.mark.parametrize("package", ["models", "settings", "engine", "services", "worker", "bootstrap"])
def test_only_the_doors_load_a_web_framework(package: str) -> None:
    assert {"fastapi", "starlette", "uvicorn", "typer"}.isdisjoint(
        loaded_by(f"import {', '.join(modules_of(package))}")
    )


def test_the_package_itself_loads_nothing() -> None:
    assert {"pydantic", "redis", "huey", "textual"}.isdisjoint(loaded_by("import cloudq_tui"))


def test_the_public_names_are_there() -> None:
    for name in cloudq_tui.__all__:
        assert getattr(cloudq_tui, name).__name__ == name
    assert cloudq_tui.__version__
    assert {*cloudq_tui.__all__, "__version__"} <= set(dir(cloudq_tui))
    with pytest.raises(AttributeError, match="nonsense"):
        cloudq_tui.nonsense  # noqa: B018
