"""`cloudq-tui demo`: the whole product on a data folder of its own, with real jobs from the platform's scenery.

What is played, and by which far ends, is the task package's affair: its module `demo` offers `scenery(folder)`, a
context manager with an `environment` for the worker, and `feeder(runtime)`, which has `start()` and `stop()`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudq_tui.bootstrap import Runtime, build, default_actor, embedded_worker, load_definitions
from cloudq_tui.errors import SettingsError
from cloudq_tui.settings import Settings, load_settings, xdg_folder

if TYPE_CHECKING:
    from cloudq_tui.worker.child import EmbeddedWorker

# A demo must never touch a Redis that was configured for real work.
_REAL = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_QUEUE_DB", "CLOUDQ_QUEUES")


def demo_folder() -> Path:
    """Where the demo keeps its Redis and its outbox; never the user's own data folder."""
    return xdg_folder("XDG_DATA_HOME", ".local/share") / "demo"


@contextmanager
def demo_stage(folder: Path | None = None) -> Iterator[tuple[Runtime, EmbeddedWorker]]:
    """A runtime and a running worker on the demo's own Redis, fed with jobs while the block runs.

    Sets the demo's environment in this process and leaves it so. Raises SettingsError when the task package has no
    demo.
    """
    folder = folder or demo_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(f"the demo's folder {folder}: {error.strerror}; set XDG_DATA_HOME") from None
    plain = load_settings()
    module = _scenery_of(plain)
    with module.scenery(folder) as scenery:
        for name in [name for name in os.environ if name in _REAL or name.startswith("CLOUDQ_REDIS__")]:
            del os.environ[name]
        os.environ.update(scenery.environment)
        os.environ["CLOUDQ_REDIS__EMBEDDED"] = "always"
        os.environ["CLOUDQ_REDIS__DATA_DIR"] = str(folder / "redis")
        settings = load_settings()
        definitions = load_definitions(settings.worker.task_path)
        with build(settings, actor=default_actor("dashboard"), definitions=definitions) as runtime:
            worker = embedded_worker(settings)
            worker.start()
            feeder = module.feeder(runtime)
            feeder.start()
            try:
                yield runtime, worker
            finally:
                feeder.stop()
                worker.stop(settings.worker.shutdown_grace)


def run_demo() -> None:
    """Show the dashboard over the demo until the person quits."""
    from cloudq_tui.tui.app import CloudqApp  # noqa: PLC0415 - the screen loads only when it is wanted

    with demo_stage() as (runtime, worker):
        CloudqApp(runtime.operations, settings=runtime.settings, worker=worker).run()


def _scenery_of(settings: Settings) -> Any:
    package = settings.worker.task_path.partition(".")[0]
    load_definitions(settings.worker.task_path)
    try:
        return importlib.import_module(f"{package}.demo")
    except ImportError as error:
        raise SettingsError(f"worker.task_path: {package!r} has no demo: {error}") from error
