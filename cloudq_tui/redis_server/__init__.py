"""The embedded Redis: one private server per data folder, shared by every process of the user.

    user processes --- shared lock ---> users.lock <--- probes --- watcher --- owns ---> server
                                                                      '-- server.lock --'  (both hold it)

- A user takes the shared lock first and looks for the server second. Who finds none starts a watcher, one at a
  time (start.lock); the watcher starts the server and reports back through a pipe.
- The watcher ends the server when it gets users.lock for itself, and keeps that lock until the server is gone: a
  user who arrives meanwhile waits, then starts anew. The kernel frees a dead process's locks, so that kill -9 needs
  no clean-up.
- The server inherits the watcher's server.lock: no second server can open the same files while one is alive, not
  even in the moment between the death of a watcher and that of its server.

Imports errors only, and no Redis client: the watcher stays small. Its own process is
`python -m cloudq_tui.redis_server`.
"""

from __future__ import annotations

from cloudq_tui.redis_server.client import EmbeddedRedis

__all__ = ["EmbeddedRedis"]
