"""The watcher's process."""

from __future__ import annotations

import sys

from cloudq_tui.redis_server.watcher import main

sys.exit(main())
