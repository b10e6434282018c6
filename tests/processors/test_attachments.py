"""Attachments by path: inside the roots or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloudq_tui.errors import PermanentFailure
from tasks.clients.attachments import AttachmentFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "ok.txt").write_text("fine")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def test_a_file_inside_is_read(root: Path) -> None:
    assert AttachmentFiles([root], max_size=10).read(f"{root}/inner/../inner/ok.txt") == b"fine"


def test_a_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert AttachmentFiles([tmp_path / "alias"], max_size=10).read(f"{tmp_path}/alias/inner/ok.txt") == b"fine"


def test_a_link_inside_may_point_inside(root: Path) -> None:
    (root / "link.txt").symlink_to(root / "inner" / "ok.txt")
    assert AttachmentFiles([root], max_size=10).read(f"{root}/link.txt") == b"fine"


@pytest.mark.parametrize(
    "path", ["{root}/../secret.txt", "{root}/link.txt", "{root}/folder/secret.txt", "/etc/passwd", "inner/ok.txt"]
)
def test_everything_outside_is_refused(path: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    (root / "link.txt").symlink_to(root.parent / "secret.txt")
    (root / "folder").symlink_to(root.parent)
    with pytest.raises(PermanentFailure, match=r"outside email\.attachment_roots"):
        AttachmentFiles([root], max_size=100).read(path.format(root=root))


def test_a_neighbour_with_the_roots_name_as_prefix_is_outside(root: Path, tmp_path: Path) -> None:
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "x").write_text("x")
    with pytest.raises(PermanentFailure, match="outside"):
        AttachmentFiles([root], max_size=100).read(f"{tmp_path}/root2/x")


def test_a_folder_swapped_for_a_link_after_the_check_leads_nowhere(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ok.txt").write_text("secret")
    files = AttachmentFiles([root], max_size=100)
    real = os.path.realpath

    def then_swap(path: str) -> str:
        resolved = real(path)
        (root / "inner").rename(root / "moved")
        (root / "inner").symlink_to(tmp_path)
        return resolved

    monkeypatch.setattr(os.path, "realpath", then_swap)
    with pytest.raises(PermanentFailure, match="cannot be read"):
        files.read(f"{root}/inner/ok.txt")


def test_no_roots_no_paths(root: Path) -> None:
    with pytest.raises(PermanentFailure, match=r"need email\.attachment_roots"):
        AttachmentFiles([], max_size=10).read(f"{root}/inner/ok.txt")


def test_too_large(root: Path) -> None:
    with pytest.raises(PermanentFailure, match=r"email\.max_attachment_size \(3 bytes\)"):
        AttachmentFiles([root], max_size=3).read(f"{root}/inner/ok.txt")


@pytest.mark.parametrize("name", ["inner", "", "missing", "fifo"])
def test_only_plain_files(name: str, root: Path) -> None:
    os.mkfifo(root / "fifo")
    with pytest.raises(PermanentFailure, match="attachment"):
        AttachmentFiles([root], max_size=100).read(f"{root}/{name}")
