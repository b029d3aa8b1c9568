"""Every message that the relay sends to Gemini, judged by the types of Google's own SDK.

The relay talks to gemini-sim, which records what it receives; callers speak through the bundled call generator.
"""

import json
import os
import pathlib
import re
import subprocess
import threading

import pytest

import strict_types

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = ROOT / "target" / os.environ.get("PROFILE", "debug")


def first_match(stream, pattern):
    """The first group of the first line that matches, while a thread goes on emptying the stream."""
    for line in stream:
        if found := re.search(pattern, line):
            threading.Thread(target=stream.read, daemon=True).start()
            return found[1]
    raise AssertionError(f"ended without a line that matches {pattern!r}")


@pytest.fixture
def relay(tmp_path):
    """Call it with settings: it starts simulator and relay, and gives the relay's URL and the record's path."""
    running = []

    def start(*settings):
        record = tmp_path / "record.jsonl"
        simulator = subprocess.Popen(
            [BINARIES / "gemini-sim", "--listen", "127.0.0.1:0", "--voice", "parrot", "--record", record],
            stdout=subprocess.PIPE, text=True)  # fmt: skip
        running.append(simulator)
        gemini = first_match(simulator.stdout, r"listening on (ws://\S+)").rstrip("/")
        environment = {
            "AUDIO_SOCKET_HOST": "127.0.0.1", "FREESWITCH_AUDIO_SOCKET_PORT": "0", "GEMINI_BASE_URL": gemini,
            "TANDEM_ADMIN_LISTEN": "127.0.0.1:0", "GEMINI_API_KEY": "simulated", "PATH": os.environ["PATH"]}  # fmt: skip
        sets = [word for setting in settings for word in ("--set", setting)]
        tandem = subprocess.Popen(
            [BINARIES / "tandem", *sets], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        running.append(tandem)
        return first_match(tandem.stderr, r"WebSocket server: (ws://\S+)"), record

    yield start
    for process in reversed(running):
        process.terminate()
        assert process.wait(timeout=30) in (0, -15)


def messages(record):
    return [json.loads(line) for line in record.read_text().splitlines()]


def test_every_message_passes_the_sdk_types(relay):
    url, record = relay(
        "agent.voice=Kore", "agent.language=en-US", "agent.instructions=Be brief, say \"hello\" – and ž.",
        "agent.greeting=Greet the caller.", "agent.temperature=0.7", "agent.input_transcription=true",
        "agent.output_transcription=true", "uplink.stream_end_after_ms=500")  # fmt: skip
    subprocess.run(
        [BINARIES / "callgen", "--url", url, "--calls", "2", "--seconds", "5", "--rate", "8000", "--audio", "speech"],
        check=True, capture_output=True, timeout=60)  # fmt: skip
    # A switch that sends nothing makes the relay end the stream.
    subprocess.run(
        [BINARIES / "callgen", "--url", url, "--idle", "--seconds", "2"], check=True, capture_output=True, timeout=60)
    text = record.read_text()
    for kind in ("setup", "audio", "text", "audioStreamEnd"):
        assert f'"{kind}"' in text, f"no {kind} was sent, so it was not judged"
    assert strict_types.main(record) == 0


def test_only_what_is_configured_is_in_the_setup(relay):
    url, record = relay()
    subprocess.run(
        [BINARIES / "callgen", "--url", url, "--seconds", "1"], check=True, capture_output=True, timeout=60)
    setups = [m for m in (entry.get("message", entry) for entry in messages(record)) if "setup" in m]
    assert setups == [
        {"setup": {"model": "models/gemini-3.8-live", "generationConfig": {"responseModalities": ["AUDIO"]}}}]
    assert strict_types.main(record) == 0
