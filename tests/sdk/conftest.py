"""Starts gemini-sim for the tests: port 0, TLS with a certificate made on the spot.

The Python SDK insists on wss whenever it has an API key, so the simulator speaks TLS here and SSL_CERT_FILE names its
certificate.
"""

import os
import pathlib
import subprocess
import wave

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("GEMINI_SIM", ROOT / "target/debug/gemini-sim"))


def speech(name):
    """The samples of a bundled sentence: 16 bit, mono, 16 kHz."""
    with wave.open(str(ROOT / "loadtest/data" / name)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        return file.readframes(file.getnframes())


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    pem, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", pem],
        check=True, capture_output=True)  # fmt: skip
    os.environ["SSL_CERT_FILE"] = str(pem)
    return pem, key


@pytest.fixture(scope="session")
def short_answer(tmp_path_factory):
    """Half a second of a rectangular wave: turnComplete waits until an answer would have been heard."""
    path = tmp_path_factory.mktemp("speech") / "short.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24000)
        file.writeframes((b"\0\x20" * 30 + b"\0\xe0" * 30) * 200)
    return path


@pytest.fixture
def simulator(certificate, short_answer):
    """Call it with flags: it starts a simulator and gives its https:// URL, which the SDK turns into wss://."""
    running = []

    def start(*flags, answer=short_answer):
        pem, key = certificate
        flags = (*flags, "--answer", answer) if answer else flags
        process = subprocess.Popen(
            [BINARY, "--listen", "127.0.0.1:0", "--tls-cert", pem, "--tls-key", key, *flags],
            stdout=subprocess.PIPE, text=True)  # fmt: skip
        running.append(process)
        line = process.stdout.readline()
        assert line.startswith("gemini-sim listening on wss://"), f"no address: {line!r}"
        return "https://" + line.strip().rpartition("//")[2]

    yield start
    for process in running:
        assert process.poll() is None, f"the simulator died with {process.returncode}"
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()
