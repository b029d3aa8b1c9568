"""Every message that the relay sends to Gemini, judged by the types of Google's own SDK.

The relay talks to gemini-sim, which records what it receives; callers speak through the bundled call generator.
"""

import http.server
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
    """Call it with settings, and flags of the simulator: it starts both, and gives the relay's URL and the record's path."""
    running = []

    def start(*settings, flags=()):
        record = tmp_path / "record.jsonl"
        simulator = subprocess.Popen(
            [BINARIES / "gemini-sim", "--listen", "127.0.0.1:0", "--voice", "parrot", "--record", record, *flags],
            stdout=subprocess.PIPE, text=True)  # fmt: skip
        running.append(simulator)
        gemini = first_match(simulator.stdout, r"listening on (ws://\S+)").rstrip("/")
        environment = {
            "AUDIO_SOCKET_HOST": "127.0.0.1", "FREESWITCH_AUDIO_SOCKET_PORT": "0", "GEMINI_BASE_URL": gemini,
            "TANDEM_ADMIN_LISTEN": "127.0.0.1:0", "TANDEM_STORE_URL": "none", "TANDEM_ROOT": "/nonexistent",
            "GEMINI_API_KEY": "simulated", "PATH": os.environ["PATH"]}  # fmt: skip
        sets = [word for setting in settings for word in ("--set", setting)]
        tandem = subprocess.Popen(
            [BINARIES / "tandem", *sets], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        running.append(tandem)
        return first_match(tandem.stderr, r"WebSocket server: (ws://\S+)"), record

    yield start
    for process in reversed(running):
        process.terminate()
        assert process.wait(timeout=30) in (0, -15)


@pytest.fixture
def web_server():
    """The URL of a server that knows one answer, for a tool."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"closes": "21:00"}')

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def call(url, *more):
    """Callers who talk; 3 is a generator that was late, which matters where times are measured."""
    command = [BINARIES / "callgen", "--url", url, "--rate", "8000", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 3), done.stdout + done.stderr


def messages(record):
    return [json.loads(line) for line in record.read_text().splitlines()]


def test_every_message_passes_the_sdk_types(relay):
    url, record = relay(
        "agent.voice=Kore", "agent.language=en-US", "agent.instructions=Be brief, say \"hello\" – and ž.",
        "agent.greeting=Greet the caller.", "agent.temperature=0.7", "agent.input_transcription=true",
        "agent.output_transcription=true", "uplink.stream_end_after_ms=500")  # fmt: skip
    call(url, "--calls", "2", "--seconds", "5", "--audio", "speech")
    # A switch that sends nothing makes the relay end the stream.
    call(url, "--idle", "--seconds", "2")
    text = record.read_text()
    for kind in ("setup", "audio", "text", "audioStreamEnd"):
        assert f'"{kind}"' in text, f"no {kind} was sent, so it was not judged"
    assert strict_types.main(record) == 0


@pytest.mark.parametrize(("behavior", "more"), [("blocking", ()), ("non_blocking", ("tools.look_up.scheduling=silent",))])
def test_resumed_sessions_and_answers_of_tools_pass_the_sdk_types(relay, web_server, behavior, more):
    url, record = relay(
        "agent.tools=look_up", f"tools.look_up.url={web_server}", "tools.look_up.description=Looks opening hours up.",
        'tools.look_up.parameters={"type":"object","properties":{"place":{"type":"string"}}}',
        f"tools.look_up.behavior={behavior}", *more, "agent.call_info=true",
        "agent.compression_trigger_tokens=10000", "agent.compression_target_tokens=5000",
        flags=("--fault", 'tool:look_up:{"place":"Main Street"}@turn1#new', "--fault", "drop@turn1.end+100#new"),
    )  # fmt: skip
    call(url, "--seconds", "12", "--audio", "speech")
    setups = [message["setup"] for message in (entry["message"] for entry in messages(record)) if "setup" in message]
    assert len(setups) == 2, "the dropped session was not resumed"
    first, second = setups
    assert first["sessionResumption"] == {} and second["sessionResumption"]["handle"]
    for setup in setups:
        assert setup["contextWindowCompression"]["slidingWindow"]
        declared = [function for tool in setup["tools"] for function in tool["functionDeclarations"]]
        assert {"look_up", "get_call_info"} == {function["name"] for function in declared}
        (look_up,) = [function for function in declared if function["name"] == "look_up"]
        assert look_up["behavior"] == behavior.upper()
    answers = [entry["message"]["toolResponse"] for entry in messages(record) if "toolResponse" in entry["message"]]
    ((answer,),) = [answer["functionResponses"] for answer in answers]
    assert answer["response"] and answer.get("scheduling") == ("SILENT" if more else None)
    assert strict_types.main(record) == 0


def test_manual_activity_passes_the_sdk_types(relay):
    url, record = relay("agent.turn_taking=relay", "agent.greeting=Greet the caller.")
    call(url, "--seconds", "12", "--warmup-ms", "5000", "--audio", "speech")
    (setup,) = [entry["message"]["setup"] for entry in messages(record) if "setup" in entry["message"]]
    assert setup["realtimeInputConfig"]["automaticActivityDetection"]["disabled"] is True
    text = record.read_text()
    for kind in ("activityStart", "activityEnd", "text", "audio"):
        assert f'"{kind}"' in text, f"no {kind} was sent, so it was not judged"
    assert '"audioStreamEnd"' not in text
    assert strict_types.main(record) == 0


def test_only_what_is_configured_is_in_the_setup(relay):
    url, record = relay()
    call(url, "--seconds", "1")
    setups = [m for m in (entry.get("message", entry) for entry in messages(record)) if "setup" in m]
    assert setups == [{
        "setup": {
            "model": "models/gemini-3.8-live",
            "generationConfig": {"responseModalities": ["AUDIO"]},
            "sessionResumption": {},
            "contextWindowCompression": {"slidingWindow": {}},
        }
    }]  # fmt: skip
    assert strict_types.main(record) == 0
