"""The compose files: what operators of today's system rely on, and the compose tool's own opinion where it is there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "compose"
FILES = ["compose.yaml", "compose.bridge.yaml"]


def compose(name):
    """The file with every variable at its default."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (FOLDER / name).read_text())
    assert "${" not in text, "a variable without a default: a service that is not started would need it too"
    return yaml.safe_load(text)


@pytest.mark.parametrize("name", FILES)
def test_the_services_have_the_names_that_operators_type(name):
    assert set(compose(name)["services"]) == {"backend", "freeswitch", "postgres"}


@pytest.mark.parametrize("name", FILES)
def test_backend_and_postgres_start_without_freeswitch(name):
    for service in compose(name)["services"].values():
        assert not set(service.get("depends_on", [])) & {"freeswitch"}


@pytest.mark.parametrize("name", FILES)
def test_every_service_has_a_time_zone_and_comes_up_again(name):
    for service in compose(name)["services"].values():
        assert service["environment"]["TZ"] == "UTC"
        assert service["restart"] == "unless-stopped"


def test_on_the_hosts_network_nothing_is_published_but_the_database_inside():
    services = compose("compose.yaml")["services"]
    assert services["backend"]["network_mode"] == services["freeswitch"]["network_mode"] == "host"
    assert services["backend"]["environment"]["AUDIO_SOCKET_HOST"] == "127.0.0.1"
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:5432:5432"]


def test_on_the_bridge_sip_and_rtp_are_published_and_the_event_socket_is_not():
    services = compose("compose.bridge.yaml")["services"]
    assert services["freeswitch"]["ports"] == [
        "5060:5060/tcp", "5060:5060/udp", "5080:5080/tcp", "5080:5080/udp", "127.0.0.1:8021:8021/tcp",
        "16384-32768:16384-32768/udp",
    ]
    assert all(port.startswith("127.0.0.1:") for port in services["backend"]["ports"])
    assert services["backend"]["environment"]["AUDIO_SOCKET_HOST"] == "0.0.0.0"
    assert {tuple(service["networks"]) for service in services.values()} == {("voice",)}


@pytest.mark.parametrize("name", FILES)
def test_the_image_of_freeswitch_is_named_by_a_variable(name):
    assert "image: ${FREESWITCH_IMAGE:-" in (FOLDER / name).read_text()


def test_the_example_names_every_variable():
    example = set(re.findall(r"^(\w+)=", (FOLDER / ".env.example").read_text(), re.MULTILINE))
    used = {name for file in FILES for name in re.findall(r"\$\{(\w+)", (FOLDER / file).read_text())}
    assert used - example == {"TANDEM_IMAGE", "FREESWITCH_AUDIO_SOCKET_PORT"}, "missing in .env.example"
    assert example <= used


def test_the_images_files_are_there():
    for name in FILES:
        build = compose(name)["services"]["backend"]["build"]
        assert ((FOLDER / build["context"]).resolve() / build["dockerfile"]).is_file()


def tool():
    """`docker compose`, version 2; the old docker-compose does not know the format."""
    if shutil.which("docker"):
        probe = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=60, check=False)
        if probe.returncode == 0:
            return ["docker", "compose"]
    return None


@pytest.mark.parametrize("name", FILES)
def test_the_compose_tool_accepts_them(name):
    command = tool()
    if command is None:
        pytest.skip("no compose tool here; the facts above are checked by the YAML alone")
    run = subprocess.run(
        [*command, "-f", FOLDER / name, "config", "--quiet"], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "GEMINI_API_KEY": "x"},
    )
    assert run.returncode == 0, run.stderr
