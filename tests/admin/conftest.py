"""Starts gemini-sim and the relay for the tests: port 0 everywhere, the admin server with a token."""

import os
import pathlib
import re
import subprocess
import threading

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_S = 60
TOKEN = "a-token-of-these-tests-only"


class Process:
    """A program whose lines can be waited for."""

    def __init__(self, *arguments, **environment):
        environment = {key: str(value) for key, value in environment.items()}
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments], env={**os.environ, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        self.lines, self.is_over = [], False
        self.more = threading.Condition()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.more:
                self.lines.append(line.rstrip())
                self.more.notify_all()
        with self.more:
            self.is_over = True
            self.more.notify_all()

    def found(self, pattern):
        """The first line in which this is, once it is there."""
        with self.more:
            def match():
                return next(filter(None, (re.search(pattern, line) for line in self.lines)), None)

            self.more.wait_for(lambda: match() or self.is_over, PATIENCE_S)
            found = match()
            assert found, f"no {pattern!r} in\n" + "\n".join(self.lines)
            return found

    def ended(self):
        status = self.process.wait(timeout=PATIENCE_S)
        self.reader.join()
        return status

    def stop(self):
        self.process.kill()
        self.ended()


@pytest.fixture(scope="session")
def model():
    simulator = Process(ROOT / "target/debug/gemini-sim", "--listen", "127.0.0.1:0", "--voice", "parrot")
    yield simulator.found(r"gemini-sim listening on ws(://\S+)")[1]
    simulator.stop()


@pytest.fixture(scope="session")
def start_relay(model, tmp_path_factory):
    """Call it with more environment: it starts a relay, which has `media` and `admin`."""
    running = []

    def start(**environment):
        folder = tmp_path_factory.mktemp("relay")
        relay = Process(
            ROOT / "target/debug/tandem",
            **{
                "AUDIO_SOCKET_HOST": "127.0.0.1",
                "FREESWITCH_AUDIO_SOCKET_PORT": 0,
                "TANDEM_ADMIN_LISTEN": "127.0.0.1:0",
                "GEMINI_BASE_URL": f"ws{model}",
                "GEMINI_API_KEY": "AIzaSyE2e-simulated_0123456789abcdefghij",
                "XDG_STATE_HOME": folder,
                "TANDEM_ROOT": folder,
                "RUST_LOG": "tandem=debug",
                **environment,
            },
        )
        running.append(relay)
        relay.media = relay.found(r"WebSocket server: (\S+)")[1]
        relay.admin = relay.found(r"admin server: (\S+)")[1]
        return relay

    yield start
    for relay in running:
        relay.stop()


@pytest.fixture(scope="session")
def relay(start_relay):
    return start_relay(TANDEM_ADMIN_TOKEN=TOKEN)
