"""archive-logs and clean-logs on real files: what goes, what stays, and what a second run does."""

from __future__ import annotations

import errno
import gzip
import os
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
import zstandard

from cloudq_tui.errors import Cancelled, InvalidPayload, LeaseLost, PermanentFailure, TemporaryFailure
from tasks.clients import log_search
from tasks.clients.rooted_files import NewFile, OpenFolder, RootedFiles
from tasks.logs import archive
from tasks.payloads import parse_payload
from tasks.payloads.log_processing import AnalyzeLogs, ArchiveLogs, CleanLogs
from tasks.processors.log_processing import LogRules, NamedSet, archive_logs, clean_logs

DAY = 86_400
RULES = LogRules({}, max_files=1000, max_unpacked=1 << 30, zone=UTC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


@pytest.fixture
def run(root: Path, job: Any) -> Callable[..., dict[str, Any]]:
    """Run archive-logs, or clean-logs where the policy has its fields, on `*.log` unless told."""

    def process(given: Any = None, *, rules: LogRules = RULES, **policy: Any) -> dict[str, Any]:
        data = given if isinstance(given, dict) else {"paths": [given or f"{root}/*.log"]}
        clean = {"olderThan", "maxTotalBytes", "dryRun"} & set(policy) and "compression" not in policy
        model, function = (CleanLogs, clean_logs) if clean else (ArchiveLogs, archive_logs)
        payload: Any = parse_payload(model, data | {"policy": policy})
        result: dict[str, Any] = function(payload, job, files=RootedFiles([root], setting="logs.roots"), rules=rules)
        return result

    return process


def write(path: Path, content: bytes = b"INFO ready\n", *, age: float = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


# --- archive ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("kind", "suffix"), [("gzip", ".gz"), ("zstd", ".zst")])
def test_the_archive_holds_what_the_original_held(kind: str, suffix: str, run: Any, root: Path, job: Any) -> None:
    content = b"2025-10-21 10:30:00 INFO ready\n" * 100_000 + os.urandom(1000)
    source = write(root / "app.log", content, age=DAY)
    source.chmod(0o600)
    written = source.stat().st_mtime_ns
    result = run(compression=kind)
    packed = root / f"app.log{suffix}"
    assert names(root) == [packed.name]
    unpack = gzip.decompress if kind == "gzip" else _unzstd
    assert unpack(packed.read_bytes()) == content
    assert (packed.stat().st_mode & 0o777, packed.stat().st_mtime_ns) == (0o600, written)
    assert result == {
        "archived": 1,
        "skipped": 0,
        "failed": 0,
        "bytesBefore": len(content),
        "bytesAfter": packed.stat().st_size,
        "outcomes": [
            {
                "status": "archived",
                "path": str(source),
                "before": len(content),
                "archive": str(packed),
                "after": packed.stat().st_size,
            }
        ],
    }
    assert job.progress[0] == (5, "find")
    assert (95, "1 of 1") in job.progress
    assert job.progress[-1] == (100, "done")


def _unzstd(data: bytes) -> bytes:
    return bytes(zstandard.ZstdDecompressor().decompressobj().decompress(data))


def test_no_archive_is_ever_replaced(run: Any, root: Path) -> None:
    for number in range(3):
        write(root / "app.log", b"day %d\n" % number, age=DAY - number)
        run()
    assert names(root) == ["app.log.1.gz", "app.log.2.gz", "app.log.gz"]
    found = [gzip.decompress((root / name).read_bytes()) for name in ("app.log.gz", "app.log.1.gz", "app.log.2.gz")]
    assert found == [b"day 0\n", b"day 1\n", b"day 2\n"]


def test_young_compressed_and_open_files_stay(run: Any, root: Path) -> None:
    write(root / "old.log", age=DAY)
    write(root / "young.log")
    write(root / "packed.log.gz", gzip.compress(b"x"), age=DAY)
    write(root / "open.log", age=DAY)
    with (root / "open.log").open("ab"):
        result = run(f"{root}/*", compression="gzip", olderThan=3600)
    assert names(root) == ["old.log.gz", "open.log", "packed.log.gz", "young.log"]
    assert (result["archived"], result["skipped"], result["failed"]) == (1, 3, 0)
    reasons = {Path(one["path"]).name: one["reason"] for one in result["outcomes"] if "reason" in one}
    assert reasons == {"open.log": "is open for writing", "packed.log.gz": "is compressed already"}


def test_a_file_written_to_meanwhile_stays(run: Any, root: Path, job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(root / "app.log", b"x" * 3_000_000, age=DAY)
    monkeypatch.setattr(archive, "open_for_writing", lambda _: False)
    show = job.update_progress

    def append(percent: float, step: str = "") -> None:
        if percent > 40:
            with source.open("ab") as file:
                file.write(b"more\n")
        show(percent, step)

    job.update_progress = append
    result = run()
    assert names(root) == ["app.log"]
    assert (result["archived"], result["skipped"]) == (0, 1)
    assert result["outcomes"][0]["reason"] == "was written to meanwhile"


def test_an_archive_that_reads_back_wrong_never_costs_the_original(
    run: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root / "app.log", os.urandom(100_000), age=DAY)
    sync = NewFile.sync

    def spoil(self: NewFile) -> None:
        sync(self)
        self.file.seek(5000)
        self.file.write(b"spoilt")
        self.file.flush()

    monkeypatch.setattr(NewFile, "sync", spoil)
    with pytest.raises(PermanentFailure, match="none of 1 files was archived"):
        run()
    assert names(root) == ["app.log"]


def test_a_full_disk_is_tried_again_later(run: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "app.log", age=DAY)

    def full(_: NewFile) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(NewFile, "sync", full)
    with pytest.raises(TemporaryFailure, match=r"app\.log cannot be archived: No space left"):
        run()
    assert names(root) == ["app.log"]


@pytest.mark.parametrize("moment", ["after the archive", "after the announcement", "after the removal"])
def test_a_run_that_died_is_taken_up(
    moment: str, run: Any, root: Path, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {f"{name}.log": name.encode() * 1000 for name in "abc"}
    for name, content in contents.items():
        write(root / name, content, age=DAY)

    def die(*_: Any) -> None:
        raise LeaseLost("killed here")

    with monkeypatch.context() as patch:
        if moment == "after the archive":
            patch.setattr(job, "checkpoint", die, raising=False)
        elif moment == "after the announcement":
            patch.setattr(
                OpenFolder,
                "remove",
                lambda self, name: die() if name == "b.log" else os.unlink(name, dir_fd=self._descriptor),
            )
        else:
            patch.setattr(OpenFolder, "sync", die)
        with pytest.raises(LeaseLost):
            run()
    result = run()
    assert names(root) == [f"{name}.gz" for name in contents]
    for name, content in contents.items():
        assert gzip.decompress((root / f"{name}.gz").read_bytes()) == content
    assert (result["archived"], result["failed"], result["bytesBefore"]) == (3, 0, 3000)


def test_a_cancelled_run_leaves_no_half_archive(run: Any, root: Path, job: Any) -> None:
    write(root / "app.log", b"x" * 5_000_000, age=DAY)
    show = job.update_progress

    def cancel(percent: float, step: str = "") -> None:
        job.cancelled = percent > 30
        show(percent, step)

    job.update_progress = cancel
    with pytest.raises(Cancelled):
        run()
    assert names(root) == ["app.log"]


def test_what_a_killed_writer_left_is_removed(run: Any, root: Path) -> None:
    write(root / ".cloudq-0123456789abcdef.partial")
    write(root / "app.log", age=DAY)
    run()
    assert names(root) == ["app.log.gz"]


def test_one_bad_file_does_not_stop_the_others(run: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        write(root / f"{name}.log", age=DAY)
    plain = OpenFolder.open

    def refuse(self: OpenFolder, name: str) -> Any:
        if name == "a.log":
            raise PermissionError(13, "Permission denied")
        return plain(self, name)

    monkeypatch.setattr(OpenFolder, "open", refuse)
    result = run()
    assert (result["archived"], result["failed"]) == (1, 1)
    assert result["outcomes"][1]["reason"] == "a.log cannot be archived: Permission denied"


def test_a_failure_names_the_first_file_that_failed(run: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "a.log.gz", age=9 * DAY)
    write(root / "b.log", age=9 * DAY)

    def refuse(self: OpenFolder, name: str, *_: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(OpenFolder, "open", refuse)
    with pytest.raises(PermanentFailure, match=r"none of 1 files was archived: b\.log cannot be archived: Perm"):
        run("*")
    monkeypatch.setattr(OpenFolder, "remove", refuse)
    with pytest.raises(PermanentFailure, match=r"none of 2 files was removed: a\.log\.gz cannot be removed: Perm"):
        run("*", olderThan=DAY)


# --- clean --------------------------------------------------------------------------------------------------
def test_clean_by_age(run: Any, root: Path) -> None:
    for days in (1, 5, 9):
        write(root / f"{days}.log", b"x" * days, age=days * DAY)
    result = run(olderThan=4 * DAY)
    assert names(root) == ["1.log"]
    assert (result["removed"], result["freedBytes"], result["kept"], result["keptBytes"]) == (2, 14, 1, 1)
    assert [(Path(one["path"]).name, one["rule"]) for one in result["outcomes"]] == [("9.log", "age"), ("5.log", "age")]


def test_clean_by_size_takes_the_oldest(run: Any, root: Path) -> None:
    for days in (1, 2, 3, 4):
        write(root / f"{days}.log", b"x" * 100, age=days * DAY)
    result = run(maxTotalBytes=250)
    assert names(root) == ["1.log", "2.log"]
    assert (result["removed"], result["keptBytes"]) == (2, 200)
    assert run(maxTotalBytes=0, olderThan=10 * DAY)["kept"] == 0


def test_a_dry_run_touches_nothing_and_says_the_same(run: Any, root: Path, job: Any) -> None:
    for days in (1, 5, 9):
        write(root / f"{days}.log", b"x" * days, age=days * DAY)
    policy = {"olderThan": 6 * DAY, "maxTotalBytes": 3}
    told = run(**policy, dryRun=True)
    assert names(root) == ["1.log", "5.log", "9.log"]
    assert job.checkpoints == []
    assert [one["status"] for one in told["outcomes"]] == ["would go", "would go"]
    done = run(**policy)
    plain = {"dryRun", "outcomes"}
    assert {k: v for k, v in told.items() if k not in plain} == {k: v for k, v in done.items() if k not in plain}


def test_clean_counts_what_a_killed_run_removed(run: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(250):
        write(root / f"{number:03}.log", b"x", age=DAY * 2 + number)
    removed = 0

    def dying(self: OpenFolder, name: str) -> None:
        nonlocal removed
        if removed == 150:
            raise LeaseLost("killed here")
        removed += 1
        os.unlink(name, dir_fd=self._descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(OpenFolder, "remove", dying)
        with pytest.raises(LeaseLost):
            run(olderThan=DAY)
    result = run(olderThan=DAY)
    assert (result["removed"], result["freedBytes"], len(result["outcomes"])) == (250, 250, 50)
    assert names(root) == []


def test_a_log_in_use_is_not_cleaned(run: Any, root: Path) -> None:
    write(root / "app.log", age=9 * DAY)
    with (root / "app.log").open("ab"):
        result = run(olderThan=DAY)
    assert names(root) == ["app.log"]
    assert (result["removed"], result["kept"], result["outcomes"][0]["reason"]) == (0, 1, "is open for writing")


# --- which files --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{root}/*.log", ["a.log"]),
        ("{root}/**/*.log", ["a.log", "x/b.log", "x/y/c.log"]),
        ("{root}/**", ["a.log", "a.txt", "x/b.log", "x/y/c.log"]),
        ("{root}/*/[a-b].log", ["x/b.log"]),
        ("{root}/x/y/c.log", ["x/y/c.log"]),
        ("{root}/**/y/**/c.log", ["x/y/c.log"]),
        ("{root}/?.t?t", ["a.txt"]),
        ("*.log", ["a.log"]),
        ("x/*.log", ["x/b.log"]),
        ("{root}/.h*", [".hidden.log"]),
        ("{root}/missing/*.log", []),
        ("{root}/a.log/*", []),
    ],
)
def test_patterns(pattern: str, expected: list[str], root: Path) -> None:
    for name in ("a.log", "a.txt", "x/b.log", "x/y/c.log", ".hidden.log", ".git/d.log"):
        write(root / name)
    write(root / ".cloudq-0123456789abcdef.partial")
    os.mkfifo(root / "fifo.log")
    (root / "loop").symlink_to(root)
    search = log_search.LogSearch(RootedFiles([root], setting="logs.roots"), max_files=10)
    found = search.find([pattern.format(root=root), f"{root}/nothing*"], lambda: None)
    assert [str(one.path.relative_to(root)) for one in found] == expected


def test_patterns_never_leave_the_roots(run: Any, root: Path, tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.log", age=DAY)
    (root / "link.log").symlink_to(secret)
    (root / "out").symlink_to(tmp_path)
    for pattern in (f"{tmp_path}/*.log", f"{root}/out/*.log", "/**", "/etc/*", "out/secret.log"):
        with pytest.raises(PermanentFailure, match=r"outside logs\.roots"):
            run(pattern)
    assert run(f"{root}/**/*.log")["archived"] == 0
    assert run(f"{root}/link.log")["archived"] == 0
    assert run(f"{root}/*/secret.log", olderThan=0)["removed"] == 0
    assert secret.exists()
    assert (root / "link.log").is_symlink()


def test_what_is_left_out_is_told(run: Any, root: Path, job: Any) -> None:
    write(root / "a.log", age=DAY)
    odd = [write(root / "two\nlines.log"), write(root / "b" / "\u202e" / "c.log"), write(root / "\udcff.log")]
    assert run({"paths": ["**/*.log", "missing/*.log"]})["archived"] == 1
    assert all(path.exists() for path in odd)
    assert "3 left out: a name that cannot be shown" in job.lines
    assert "1 left out: a folder: No such file or directory" in job.lines


def test_too_many_files_touch_none(run: Any, root: Path) -> None:
    for number in range(5):
        write(root / f"{number}.log", age=DAY)
    with pytest.raises(PermanentFailure, match=r"more than 3 files \(logs\.max_files\)"):
        run(rules=LogRules({}, 3, 1, UTC))
    assert len(names(root)) == 5


def test_a_named_set(run: Any, root: Path) -> None:
    write(root / "nginx/access.log", age=DAY)
    rules = LogRules({"nginx": NamedSet(("nginx/*.log",))}, 10, 1, UTC)
    assert run({"set": "nginx"}, rules=rules)["archived"] == 1
    with pytest.raises(PermanentFailure, match=r"logs\.sets has no set 'apache'"):
        run({"set": "apache"}, rules=rules)


def test_without_roots_nothing_is_touched(job: Any) -> None:
    payload = parse_payload(ArchiveLogs, {"paths": ["*.log"]})
    with pytest.raises(PermanentFailure, match=r"logs\.roots is empty"):
        archive_logs(payload, job, files=RootedFiles([], setting="logs.roots"), rules=RULES)


@pytest.mark.parametrize(
    ("model", "data", "reason"),
    [
        (ArchiveLogs, {}, "exactly one of paths and set"),
        (ArchiveLogs, {"paths": ["/a"], "set": "b"}, "exactly one of paths and set"),
        (ArchiveLogs, {"paths": ["[" * 1025]}, "at most 1024 characters"),
        (ArchiveLogs, {"paths": []}, "at least 1"),
        (ArchiveLogs, {"paths": ["/a/../b"]}, r"'\.\.'"),
        (ArchiveLogs, {"paths": ["/a\n"]}, "control characters"),
        (ArchiveLogs, {"paths": ["/a"], "policy": {"compression": "rar"}}, "'gzip' or 'zstd'"),
        (ArchiveLogs, {"paths": ["/a"], "policy": {"level": 12}}, "gzip has 1 to 9"),
        (CleanLogs, {"paths": ["/a"]}, "policy: Field required"),
        (CleanLogs, {"paths": ["/a"], "policy": {}}, "olderThan, maxTotalBytes or both"),
        (CleanLogs, {"paths": ["/a"], "policy": {"olderThan": -1}}, "greater than or equal to 0"),
        (AnalyzeLogs, {"paths": ["/a"], "policy": {"top": 1000}}, "less than or equal to 100"),
        (AnalyzeLogs, {"set": "../x"}, "match pattern"),
    ],
)
def test_a_wrong_payload_is_refused_when_enqueued(model: Any, data: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidPayload, match=reason):
        parse_payload(model, data, job="x")
