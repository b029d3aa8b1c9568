"""The compose files: what operators of today's system rely on, and the compose tool's own opinion where it is there."""

import json
import os
import re
import shutil
import socket
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
    services = compose(name)["services"]
    asked_for = {service for service, keys in services.items() if "profiles" not in keys}
    assert asked_for == {"backend", "freeswitch", "postgres"}
    assert set(services) - asked_for == {"prometheus", "grafana"}


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
    assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


def test_on_the_bridge_sip_and_rtp_are_published_and_the_event_socket_is_not():
    services = compose("compose.bridge.yaml")["services"]
    assert services["freeswitch"]["ports"] == [
        "5060:5060/tcp", "5060:5060/udp", "5080:5080/tcp", "5080:5080/udp", "127.0.0.1:8021:8021/tcp",
        "16384-32768:16384-32768/udp",
    ]
    for inside in ["backend", "prometheus", "grafana"]:
        assert all(port.startswith("127.0.0.1:") for port in services[inside]["ports"]), inside
    assert services["backend"]["environment"]["AUDIO_SOCKET_HOST"] == "0.0.0.0"
    assert {tuple(service["networks"]) for service in services.values()} == {("voice",)}


@pytest.mark.parametrize("name", FILES)
def test_the_relay_has_no_rights_that_it_does_not_need(name):
    backend = compose(name)["services"]["backend"]
    assert backend["read_only"] is True and backend["cap_drop"] == ["ALL"]
    assert backend["security_opt"] == ["no-new-privileges:true"]
    image = (FOLDER / "Dockerfile").read_text()
    assert re.search(r"^USER tandem$", image, re.MULTILINE) and "STOPSIGNAL SIGTERM" in image
    # What is written has a volume, since nothing else can be written.
    state = re.search(r"^ENV STATE_DIRECTORY=(\S+)$", image, re.MULTILINE)[1]
    assert [volume.split(":")[1].split()[0] for volume in backend["volumes"]] == [state]


@pytest.mark.parametrize("name", FILES)
def test_records_go_to_the_postgres_of_the_file(name):
    services = compose(name)["services"]
    url = services["backend"]["environment"]["DATABASE_URL"]
    database = services["postgres"]["environment"]
    assert url.startswith(f"postgres://{database['POSTGRES_USER']}:{database['POSTGRES_PASSWORD']}@")
    place, _, query = url.partition("?")
    assert place.endswith(f":5432/{database['POSTGRES_DB']}")
    # A name is no near address, and within the compose network nobody else listens.
    near = "@127.0.0.1:" in place
    assert query == ("" if near else "sslmode=disable")


@pytest.mark.parametrize("name", FILES)
def test_prometheus_and_grafana_find_their_files_and_the_relay(name):
    services = compose(name)["services"]
    mounts = [volume.split(":") for service in ["prometheus", "grafana"] for volume in services[service]["volumes"]]
    places = {inside: (FOLDER / outside).resolve() for outside, inside, *_ in mounts if outside.startswith(".")}
    assert all(place.exists() for place in places.values()), places
    argument = services["prometheus"]["command"][0].removeprefix("--config.file=/etc/prometheus/")
    scraped = yaml.safe_load((places["/etc/prometheus"] / argument).read_text())["scrape_configs"][0]
    host = "127.0.0.1" if name == "compose.yaml" else "backend"
    assert scraped["static_configs"] == [{"targets": [f"{host}:9095"]}]
    # Where a token is asked for, Prometheus has it.
    secrets = services["prometheus"].get("secrets", [])
    assert ("authorization" in scraped) == bool(secrets) == (host == "backend")
    if secrets:
        assert scraped["authorization"]["credentials_file"] == f"/run/secrets/{secrets[0]}"
        assert compose(name)["secrets"] == {secrets[0]: {"environment": "TANDEM_ADMIN_TOKEN"}}
    provider = yaml.safe_load((places["/etc/grafana/provisioning"] / "dashboards" / "tandem.yaml").read_text())
    assert Path("/var/lib/grafana/dashboards/tandem.json").parent == Path(provider["providers"][0]["options"]["path"])


def test_the_image_has_what_tandem_bench_needs():
    image = (FOLDER / "Dockerfile").read_text()
    for name in ["tandem", "tandem-callgen", "tandem-gemini-sim"]:
        built = name.removeprefix("tandem-")
        assert re.search(rf"^COPY --from=build /src/target/release/{built} /usr/local/bin/{name}$", image, re.MULTILINE)
        assert re.search(rf"--bin {built}\s", image), name


def test_the_health_check_of_the_image_asks_the_admin_server():
    image = (FOLDER / "Dockerfile").read_text()
    check = json.loads(re.search(r"HEALTHCHECK .*?CMD (\[.*?\])$", image, re.MULTILINE | re.DOTALL)[1])
    served = [b"HTTP/1.1 200 OK\r\n\r\nok\n", b"HTTP/1.1 503 Service Unavailable\r\n\r\n"]
    asked = []
    for answer, status in zip(served, [0, 1], strict=True):
        with socket.create_server(("127.0.0.1", 0)) as server:
            command = [word.replace("/9095", f"/{server.getsockname()[1]}") for word in check]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            connection, _ = server.accept()
            with connection:
                # bash sends line by line.
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    request += connection.recv(4096)
                asked.append(request)
                connection.sendall(answer)
            assert process.wait(timeout=30) == status
    assert asked[0].startswith(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")


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
