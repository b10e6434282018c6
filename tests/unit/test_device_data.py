"""The data folders of devices, and what a device may have left in one."""

from __future__ import annotations

import os
from pathlib import Path

from tasks.clients.device_data import DeviceData


def filled(data: DeviceData, depth: int, outside: Path) -> Path:
    """A device's folder with a tree of that depth, and a link out of it at its end."""
    folder, _ = data.ensure("device-001")
    (folder / "empty").mkdir()
    (folder / "file").write_text("x")
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deeper", dir_fd=here)
        inner = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.symlink(outside, "link", dir_fd=here)
    os.mkfifo("pipe", dir_fd=here)
    os.close(here)
    return folder


def test_a_wipe_leaves_nothing_of_a_tree_deeper_than_any_stack(tmp_path: Path) -> None:
    data, outside = DeviceData(tmp_path / "devices"), tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    filled(data, 3000, outside)
    data.wipe("device-001")
    assert list((tmp_path / "devices").iterdir()) == []
    assert (outside / "kept").exists()


def test_what_a_killed_wipe_left_goes_with_the_next_start(tmp_path: Path) -> None:
    data = DeviceData(tmp_path / "devices")
    folder = filled(data, 3, tmp_path)
    folder.rename(folder.with_name(".wiping-0123abcd-device-001"))
    (folder.parent / ".wiping-0123abcd-device-002").mkdir()
    found, made = data.ensure("device-001")
    assert (found, made) == (folder, True)
    assert sorted(one.name for one in folder.parent.iterdir()) == [".wiping-0123abcd-device-002", "device-001"]
