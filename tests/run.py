"""Runs the parts of `make test` and says at the end what each of them counted.

Usage: tests/run.py PART... -- PART...   (each a target of the Makefile)

What stands before `--` has the machine to itself, one after the other; what stands behind it runs two at a time. A part
that fails stops nobody: all of them run, and the summary names every test that failed. What a part printed is in
`target/test/PART.log`. Exit status 1 if anything failed or did not run.
"""

import concurrent.futures
import pathlib
import re
import subprocess
import sys
import threading
import time

LOGS = pathlib.Path("target/test")
# How each runner closes: cargo test, pytest, node's test runner.
COUNTS = (
    re.compile(r"test result: \w+\. (?P<passed>\d+) passed; (?P<failed>\d+) failed"),
    re.compile(r"^=*\s*(?:(?P<failed>\d+) failed,? ?)?(?:(?P<passed>\d+) passed)?.* in [\d.]+s", re.MULTILINE),
    re.compile(r"^(?:ℹ|#) pass (?P<passed>\d+)\n(?:ℹ|#) fail (?P<failed>\d+)", re.MULTILINE),
)
FAILURES = re.compile(
    r"^(?:test (\S+) \.\.\. FAILED|(?:FAILED|ERROR) (tests/\S+).*|\s*(?:✖|not ok \d+ -) (.+?)(?: \([\d.]+ms\))?)$",
    re.MULTILINE,
)
ONE_AT_A_TIME = threading.Lock()


def run(part: str, shown: bool) -> tuple[str, int, float]:
    """Runs one part; prints what it says as it comes (`shown`), or at once when it is over."""
    began = time.monotonic()
    with open(LOGS / f"{part}.log", "w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            ["make", "--no-print-directory", part],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")  # fmt: skip
        for line in process.stdout:
            log.write(line)
            if shown:
                print(line, end="", flush=True)
        status = process.wait()
        log.seek(0)
        if not shown:
            with ONE_AT_A_TIME:
                print(log.read(), end="", flush=True)
    return part, status, time.monotonic() - began


def counted(text: str) -> tuple[int, int]:
    """Tests that passed and failed in what a part printed."""
    found = [match for count in COUNTS for match in count.finditer(text)]
    return tuple(sum(int(match[name] or 0) for match in found) for name in ("passed", "failed"))


def main() -> int:
    parts = sys.argv[1:]
    alone, beside = parts[: parts.index("--")], parts[parts.index("--") + 1 :]
    LOGS.mkdir(parents=True, exist_ok=True)
    results = [run(part, True) for part in alone]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results += pool.map(lambda part: run(part, False), beside)
    print("\nsummary")
    passed_in_all = failed_in_all = 0
    for part, status, seconds in results:
        text = (LOGS / f"{part}.log").read_text(encoding="utf-8")
        passed, failed = counted(text)
        if status != 0 and failed == 0:
            failed = 1  # It ended before it could count.
        passed_in_all, failed_in_all = passed_in_all + passed, failed_in_all + failed
        print(f"  {part:<12}{passed:>5} passed {failed:>3} failed  {seconds:5.0f} s  target/test/{part}.log")
        if status != 0:
            names = dict.fromkeys(next(filter(None, match.groups())) for match in FAILURES.finditer(text))
            for name in names or [f"`make {part}` ended with status {status}"]:
                print(f"    failed: {name}")
    print(f"{passed_in_all} passed, {failed_in_all} failed")
    return int(any(status for _, status, _ in results))


if __name__ == "__main__":
    sys.exit(main())
