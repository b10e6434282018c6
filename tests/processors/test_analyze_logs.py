"""analyze-logs: formats, levels, messages, rates; hostile lines; a large file in flat memory.

The whole gigabyte, here and in an archive of it, with the memory measured (11 minutes on two busy cores):

    CLOUDQ_FULL=1 .venv/bin/pytest -n 0 tests/processors/test_analyze_logs.py -k gigabyte
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import zstandard

from cloudq_tui.errors import Cancelled, PermanentFailure
from tasks.clients.rooted_files import OpenFolder, RootedFiles
from tasks.logs.formats import Clock, recognised
from tasks.logs.reading import LONGEST_LINE, LineReader
from tasks.logs.statistics import Messages, Rate, signature
from tasks.payloads import parse_payload
from tasks.payloads.log_processing import AnalyzeLogs
from tasks.processors.log_processing import LogRules, NamedSet, analyze_logs

ROOT = Path(__file__).parents[2]
RULES = LogRules({}, max_files=1000, max_unpacked=1 << 30, zone=UTC)

TEXT = """\
2025-10-21 10:30:00,123 INFO  web: user 42 logged in from 10.0.0.7
2025-10-21 10:30:12,001 INFO  web: user 77 logged in from 10.0.0.8
2025-10-21 10:31:01,500 ERROR db: timeout after 30 s for "SELECT 1"
Traceback (most recent call last):
  File "db.py", line 10, in query
TimeoutError: 30
2025-10-21T10:31:02Z [warning] disk /dev/sda1 is 91% full
2025/10/21 10:33:00 [error] 1234#0: *56 connect() failed, client: 203.0.113.9
"""
COMBINED = """\
203.0.113.9 - - [21/Oct/2025:10:30:00 +0000] "GET /device/17?token=secret HTTP/1.1" 200 512 "-" "curl/8"
203.0.113.9 - ann [21/Oct/2025:10:30:30 +0000] "GET /device/18 HTTP/1.1" 200 512 "-" "curl/8"
2001:db8::1 - - [21/Oct/2025:12:31:00 +0200] "POST /login HTTP/2.0" 503 0 "-" "Mozilla \\"x\\""
example.com:443 198.51.100.2 - - [21/Oct/2025:10:31:10 +0000] "\\x16\\x03" 400 0 "-" "-"
"""


@pytest.fixture
def run(tmp_path: Path, job: Any) -> Callable[..., dict[str, Any]]:
    def analyze(
        content: str | bytes, name: str = "app.log", *, rules: LogRules = RULES, **policy: Any
    ) -> dict[str, Any]:
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        payload = parse_payload(AnalyzeLogs, {"paths": [policy.pop("pattern", name)], "policy": policy})
        return analyze_logs(payload, job, files=RootedFiles([tmp_path], setting="logs.roots"), rules=rules)

    return analyze


def messages(result: dict[str, Any]) -> dict[str, int]:
    return {one["message"]: one["count"] for one in result["topMessages"]}


def test_a_byte_order_mark_hides_no_line(run: Any) -> None:
    for name, text in (("a.json", '{"time": "2025-10-21T10:30:00Z", "msg": "up"}\n'), ("b.log", TEXT)):
        plain, marked = run(text, name), run(f"\ufeff{text}", name)
        assert marked.pop("bytes") == plain.pop("bytes") + 3
        assert marked == plain


def test_plain_text(run: Any, job: Any) -> None:
    result = run(TEXT)
    assert result["formats"] == {"text": 1}
    assert (result["lines"], result["continued"], result["notParsed"]) == (8, 3, 0)
    assert result["levels"] == {"error": 2, "warning": 1, "info": 2}
    assert result["topMessages"][0] == {"message": "web: user # logged in from <ip>", "level": "info", "count": 2}
    assert messages(result) == {
        "web: user # logged in from <ip>": 2,
        'db: timeout after # s for "*"': 1,
        "disk /dev/sda# is #% full": 1,
        "###: *# connect() failed, client: <ip>": 1,
    }
    assert result["rate"] == {
        "first": "2025-10-21T10:30:00Z",
        "last": "2025-10-21T10:33:00Z",
        "perMinute": 1.25,
        "peak": {"at": "2025-10-21T10:30:00Z", "lines": 2, "minutes": 1},
        "seriesMinutes": 1,
        "series": [["2025-10-21T10:30:00Z", 2, 0], ["2025-10-21T10:31:00Z", 2, 1], ["2025-10-21T10:33:00Z", 1, 1]],
    }
    assert job.progress[-1] == (100, "done")


def test_json_lines(run: Any) -> None:
    lines = [
        {"timestamp": "2025-10-21T10:30:00.5+02:00", "level": "error", "message": "no device 17"},
        {"time": 1_761_035_400_000, "level": 50, "msg": "no device 18"},
        {"ts": 1_761_035_400.25, "severity": "WARN", "event": {"a": 1}},
        {"level": True, "message": None},
    ]
    result = run("\n".join([*map(json.dumps, lines), "{broken", "not json"]))
    assert result["formats"] == {"json": 1}
    assert (result["lines"], result["notParsed"]) == (6, 2)
    assert result["levels"] == {"error": 2, "warning": 1, "unknown": 1}
    assert messages(result) == {"no device #": 2, '{"*": #}': 1, "(no message)": 1}
    assert result["rate"]["series"] == [["2025-10-21T08:30:00Z", 3, 2]]


def test_combined(run: Any) -> None:
    result = run(COMBINED)
    assert result["formats"] == {"combined": 1}
    assert result["levels"] == {"error": 1, "warning": 1, "info": 2}
    assert result["statuses"] == {"200": 2, "400": 1, "503": 1}
    assert messages(result) == {"GET /device/# #": 2, "POST /login #": 1, "(no HTTP request) #": 1}
    assert [point[1:] for point in result["rate"]["series"]] == [[2, 0], [2, 1]]
    assert "secret" not in json.dumps(result)
    assert "203.0.113.9" not in json.dumps(result)


def test_apaches_error_log(run: Any) -> None:
    line = (
        "[Tue Oct 21 10:30:00.123456 2025] [core:error] [pid 35:tid 43] [client 203.0.113.9:1234] AH1: no such file\n"
    )
    result = run(line + line.replace("21 10:30:00.123456", " 1 10:31:59").replace("core:error", "warn"))
    assert (result["formats"], result["levels"]) == ({"text": 1}, {"error": 1, "warning": 1})
    assert (result["rate"]["first"], result["rate"]["last"]) == ("2025-10-01T10:31:00Z", "2025-10-21T10:30:00Z")
    assert set(messages(result)) == {"[pid #:tid #] [client <ip>] AH#: no such file"}


def test_syslog_takes_the_year_of_its_file(run: Any, tmp_path: Path) -> None:
    result = run("Oct 21 10:30:00 host sshd[123]: Failed password for root\n" * 3)
    assert messages(result) == {"sshd: Failed password for root": 3}
    assert result["rate"]["peak"]["at"].endswith("-10-21T10:30:00Z")


def test_a_time_without_zone_is_the_platforms(run: Any) -> None:
    rules = LogRules({}, 10, 1 << 30, ZoneInfo("Asia/Shanghai"))
    assert run("2025-10-21 10:30:00 INFO x\n", rules=rules)["rate"]["first"] == "2025-10-21T02:30:00Z"


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files_are_read_as_they_are(suffix: str, run: Any) -> None:
    pack = gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor().compress
    result = run(pack(TEXT.encode()), f"app.log{suffix}")
    assert (result["lines"], result["bytes"]) == (8, len(TEXT))


def test_the_format_may_be_forced_or_come_from_the_set(run: Any, tmp_path: Path, job: Any) -> None:
    assert run(TEXT, format="json")["notParsed"] == 8
    rules = LogRules({"web": NamedSet(("app.log",), "combined")}, 10, 1 << 30, UTC)
    payload = parse_payload(AnalyzeLogs, {"set": "web"})
    files = RootedFiles([tmp_path], setting="logs.roots")
    assert analyze_logs(payload, job, files=files, rules=rules)["formats"] == {"combined": 1}


def test_nothing_found_is_an_empty_answer(run: Any, tmp_path: Path) -> None:
    result = run("")
    assert (result["lines"], result["levels"], result["topMessages"], result["rate"]) == (0, {}, [], None)


# --- hostile files ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "line",
    [
        b"x" * 3_000_000,
        b"\xff\xfe\x00" * 1000,
        b"[" * 50_000,
        b'{"a":' * 10_000,
        b'{"level": ' + b"9" * 50_000 + b"}",
        b'{"ts": 1e400, "level": 1e400}',
        b'{"ts": NaN}',
        b"9999-99-99 99:99:99 ERROR x",
        b"0001-01-01 00:00:00+23:59 ERROR x",
        b"9999-12-31 23:59:59-23:59 ERROR x",
        b'1.2.3.4 - - [31/Feb/2025:10:30:00 +0000] "GET / HTTP/1.1" 200 1',
        b'1.2.3.4 - - [21/Oct/2025:10:30:00 +0000] "' + b"\\" * 60_000,
        b"a@" * 30_000,
        b"a.a" * 20_000 + b"@",
        b'"' * 60_001,
        b"<" * 60_000,
        b"2025-10-21 10:30:00 " + b"level=" * 10_000,
    ],
    ids=range(17),
)
def test_no_line_trips_the_count(line: bytes, run: Any) -> None:
    for policy in ({}, {"format": "json"}, {"format": "combined"}):
        result = run(b"\n".join([line] * 3) + b"\nplain\n", **policy)
        assert result["lines"] == 4
        json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("nuls", [1, 3_000_000])
def test_the_nuls_of_a_log_that_was_cut_under_its_writer_hide_no_line(nuls: int, run: Any) -> None:
    result = run(bytes(nuls) + TEXT.encode() + bytes(nuls))
    assert result.pop("bytes") == len(TEXT) + 2 * nuls
    plain = run(TEXT)
    del plain["bytes"]
    assert result == plain


def test_an_endless_line_is_looked_at_once(run: Any) -> None:
    result = run(b"ERROR " + b"x" * 5_000_000 + b"\nINFO y\n")
    assert (result["lines"], result["linesCut"], result["levels"]) == (2, 1, {"error": 1, "info": 1})


def test_a_small_archive_of_much_is_cut(run: Any) -> None:
    rules = LogRules({}, 10, max_unpacked=2_000_000, zone=UTC)
    result = run(gzip.compress(b"INFO x\n" * 2_000_000, 1), "bomb.log.gz", rules=rules)
    assert 2_000_000 <= result["bytes"] < 4_000_000
    assert result["filesCut"] == 1


def test_a_damaged_archive_is_told(run: Any, tmp_path: Path) -> None:
    zstd = zstandard.compress(os.urandom(5000))
    for content in (gzip.compress(os.urandom(5000))[:3000], b"no archive at all"):
        with pytest.raises(PermanentFailure, match="none of 1 files could be read"):
            run(content, "a.log.gz")
    for content in (zstd[:3000], zstd[:-1], zstd + zstd[:4], b"no archive at all"):
        with pytest.raises(PermanentFailure, match="none of 1 files could be read"):
            run(content, "a.log.zst")


def test_an_archive_may_have_several_frames(run: Any) -> None:
    line = b"INFO x\n"
    for name, pack in (("a.log.gz", gzip.compress), ("a.log.zst", zstandard.compress)):
        assert run(pack(line) + pack(b"") + pack(line * 100_000), name)["lines"] == 100_001


def test_a_file_that_goes_meanwhile_is_left_out(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.log").write_text("INFO y\n")
    plain = OpenFolder.open

    def taken(self: OpenFolder, name: str) -> Any:
        (tmp_path / "b.log").unlink(missing_ok=True)
        return plain(self, name)

    monkeypatch.setattr(OpenFolder, "open", taken)
    result = run("INFO x\n", pattern="*.log")
    assert (result["files"], result["skipped"], result["failed"], result["lines"]) == (2, 1, 0, 1)
    assert result["outcomes"][0]["reason"] == "is gone"


def test_a_cancelled_count_ends_within_a_piece(run: Any, job: Any) -> None:
    show = job.update_progress

    def cancel(percent: float, step: str = "") -> None:
        job.cancelled = percent > 20
        show(percent, step)

    job.update_progress = cancel
    with pytest.raises(Cancelled):
        run("INFO x\n" * 600_000)
    assert max(percent for percent, _ in job.progress) < 40


# --- parts --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("user 42 paid 1,299.50", "user # paid #"),
        ("job 550e8400-e29b-41d4-a716-446655440000 done", "job <uuid> done"),
        ("from 10.0.0.7:5123 and 2001:db8:0:1::7", "from <ip> and <ip>"),
        ("at 0x7f3a by deadbeef01", "at <hex> by <hex>"),
        ("mail to ann.lee+x@example.com", "mail to <email>"),
        ("get https://example.com/a?b=c now", "get <url> now"),
        ("can't open 'a b' or \"c\"", 'can\'t open "*" or "*"'),
        ("nothing  here", "nothing here"),
        ("deadline accepted", "deadline accepted"),
    ],
)
def test_variable_parts_are_taken_out(message: str, expected: str) -> None:
    assert signature(message) == expected


def test_the_frequent_survive_any_number_of_rare_messages() -> None:
    counted = Messages(most=100)
    for number in range(20_000):
        counted.add("info", f"rare {number:x}")
        if number % 5 == 0:
            counted.add("error", "frequent")
    top = counted.top(1)[0]
    assert top["message"] == "frequent"
    assert 4000 - counted.low_by <= top["count"] <= 4000


def test_years_of_minutes_stay_few_buckets() -> None:
    rate = Rate(most=1000)
    for minute in range(29_000_000, 29_000_000 + 500_000, 7):
        rate.add(minute, severe=minute % 2 == 0)
    plain = rate.plain()
    assert plain is not None
    assert len(plain["series"]) <= 240
    assert sum(point[1] for point in plain["series"]) == len(range(0, 500_000, 7))
    assert abs(plain["perMinute"] - 1 / 7) < 0.01


def test_a_file_is_recognised_by_most_of_its_lines() -> None:
    assert recognised(COMBINED.splitlines()) == "combined"
    assert recognised(['{"a": 1}', "noise"]) == "json"
    assert recognised(TEXT.splitlines()) == "text"
    assert recognised(["", "  "]) == "text"


def test_the_clock_knows_no_impossible_date() -> None:
    clock = Clock(UTC)
    assert clock.minute("2025", "2", "30", "1", "1") is None
    assert clock.minute("1970", "01", "01", "01", "00", "+01:00") == 0


def test_lines_are_the_same_however_they_are_cut() -> None:
    class Drip:
        def __init__(self, data: bytes, size: int) -> None:
            self.data, self.size = data, size

        def read(self, _size: int, /) -> bytes:
            head, self.data = self.data[: self.size], self.data[self.size :]
            return head

    data = b"a\r\n\nb" + b"c" * (LONGEST_LINE + 10) + b"\nlast"
    expected = ["a", "", "b" + "c" * (LONGEST_LINE - 1), "last"]
    for size in (1000, 70_000, 1_000_000):
        reader = LineReader(Drip(data, size), most=1 << 30, advance=lambda: None)
        assert [line[:LONGEST_LINE] for piece in reader.pieces() for line in piece] == expected


_MEASURED = """
import json, resource, sys, time
from datetime import UTC
from pathlib import Path
from cloudq_tui.worker.context import DetachedJob
from tasks.clients.rooted_files import RootedFiles
from tasks.payloads.log_processing import AnalyzeLogs, ArchiveLogs
from tasks.processors.log_processing import LogRules, analyze_logs, archive_logs
folder, size = Path(sys.argv[1]), int(sys.argv[2])
job, rules = DetachedJob("j", "log-processing", "x"), LogRules({}, 10, 1 << 40, UTC)
files = RootedFiles([folder], setting="logs.roots")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
first = analyze_logs(AnalyzeLogs(paths=["*.log"]), job, files=files, rules=rules)
assert first["bytes"] == size, first
packed = archive_logs(ArchiveLogs(paths=["*.log"]), job, files=files, rules=rules)
assert packed["archived"] == 1, packed
second = analyze_logs(AnalyzeLogs(paths=["*.gz"]), job, files=files, rules=rules)
assert second["lines"] == first["lines"] and second["levels"] == first["levels"]
print(json.dumps({"grown": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, "lines": first["lines"]}))
"""


def test_a_gigabyte_in_flat_memory(tmp_path: Path) -> None:
    """Short form: 5 MB. In a process of its own, so that its memory can be measured."""
    target = 1 << 30 if os.environ.get("CLOUDQ_FULL") else 5_000_000
    with (tmp_path / "app.log").open("wb") as file:
        number = 0
        while file.tell() < target:
            block = [
                f"2025-10-21 {n // 60000 % 24:02}:{n // 1000 % 60:02}:00 {'ERROR' if n % 9 == 0 else 'INFO'} "
                f"worker-{n % 13}: job {n:032x} of user{n}@example.com took {n % 997} ms\n"
                for n in range(number, number + 10_000)
            ]
            number += 10_000
            file.write("".join(block).encode())
    size = (tmp_path / "app.log").stat().st_size
    command = [sys.executable, "-c", _MEASURED, str(tmp_path), str(size)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["lines"] == number
    assert measured["grown"] < 60_000, "kilobytes"
