"""The Debian package without installing it: what is in it, as whom, and what its scripts say."""

import re
from pathlib import Path

import pytest
from conftest import BINARY, BUILD, ROOT, needs, run


@pytest.fixture(scope="module")
def entries(packages):
    """Path to (permissions, owner) of everything in the package."""
    lines = run("dpkg-deb", "--contents", packages[0]).stdout.splitlines()
    rows = [line.split(None, 5) for line in lines]
    return {row[5].removeprefix(".").split(" -> ")[0]: (row[0], row[1]) for row in rows}


@pytest.fixture(scope="module")
def unpacked(packages, tmp_path_factory):
    """The package's files, and its control files in DEBIAN/."""
    root = tmp_path_factory.mktemp("unpacked")
    run("dpkg-deb", "--raw-extract", packages[0], root)
    return root


def test_the_package_has_what_operators_look_for(entries):
    for path in [
        "/usr/bin/tandem",
        "/usr/bin/tandem-callgen",
        "/usr/bin/tandem-gemini-sim",
        "/lib/systemd/system/tandem.service",
        "/lib/systemd/system/tandem.socket",
        "/lib/systemd/system/tandem-admin.socket",
        "/etc/tandem/tandem.toml",
        "/etc/tandem/tandem.env",
        "/usr/lib/sysctl.d/60-tandem.conf",
        "/usr/share/doc/tandem/copyright",
        "/usr/share/doc/tandem/changelog.gz",
        "/usr/share/doc/tandem/changelog.Debian.gz",
        "/usr/share/doc/tandem/operations.md",
        "/usr/share/man/man1/tandem.1.gz",
        "/usr/share/tandem/freeswitch/scripts/start_audio_stream.lua",
        "/usr/share/tandem/prometheus/alerts.yml",
        "/usr/share/tandem/grafana/tandem.json",
    ]:
        assert path in entries, path


def test_everything_belongs_to_root_and_nothing_may_be_written_by_others(entries):
    assert {owner for _, owner in entries.values()} == {"root/root"}
    for path, (mode, _) in entries.items():
        assert mode[8] != "w" and mode[5] != "w" and "s" not in mode, (path, mode)


def test_what_holds_keys_is_closed_and_kept_at_an_upgrade(entries, unpacked):
    for name in ["tandem.toml", "tandem.env"]:
        assert entries[f"/etc/tandem/{name}"][0] == "-rw-r-----"
    conffiles = (unpacked / "DEBIAN" / "conffiles").read_text().split()
    assert conffiles == sorted(path for path in entries if path.startswith("/etc/") and not path.endswith("/"))


def test_the_libraries_that_the_binary_needs_are_depended_on(unpacked):
    control = (unpacked / "DEBIAN" / "control").read_text()
    assert "@" not in re.sub(r"<.*?>", "", control), control
    depends = re.search(r"^Depends: (.*)$", control, re.MULTILINE)[1]
    for package in ["libc6 (>= ", "libssl3", "adduser", "ca-certificates"]:
        assert package in depends, depends


def test_the_sums_are_those_of_the_files(unpacked):
    run("md5sum", "--check", "--quiet", "DEBIAN/md5sums", cwd=unpacked)


def test_the_scripts_are_valid_shell(unpacked):
    for script in ["postinst", "prerm", "postrm"]:
        text = (unpacked / "DEBIAN" / script).read_text()
        assert text.startswith("#!/bin/sh\nset -e\n")
        run("sh", "-n", unpacked / "DEBIAN" / script)


def test_the_same_files_make_the_same_package(packages, tmp_path):
    build = ROOT / "deploy" / "debian" / "build.sh"
    again = Path(run(build, BINARY, tmp_path, env=BUILD).stdout.strip())
    assert again.name == packages[0].name and again.read_bytes() == packages[0].read_bytes()


def test_the_manual_names_the_binarys_own_commands(unpacked):
    needs("gzip")
    manual = run("gzip", "-dc", unpacked / "usr/share/man/man1/tandem.1.gz").stdout
    text = run(unpacked / "usr/bin/tandem", "--help").stdout
    commands = text.split("Commands:")[1].split("\n\n")[0].split("\n")
    named = {line.split()[0] for line in commands if line.startswith("  ") and line[2] != " "}
    assert named, text
    for command in named:
        assert f"\n.B {command}" in manual, f"{command} is not in deploy/debian/tandem.1"


def test_the_relay_takes_the_configuration_of_the_package(unpacked, tmp_path):
    token = tmp_path / "admin-token"
    token.write_text("made-at-the-installation\n")
    # The file is made when the package is configured, which it is not here.
    of_package = (unpacked / "etc/tandem/tandem.toml").read_text()
    configuration = tmp_path / "tandem.toml"
    configuration.write_text(of_package.replace("/etc/tandem/admin-token", str(token)))
    configuration.chmod(0o640)
    done = run(unpacked / "usr/bin/tandem", "--config", configuration, "--check", env={})
    # Everything but the key, which is the operator's.
    assert [line for line in done.stderr.splitlines() if "GEMINI_API_KEY" not in line] == []


def test_the_command_line_finds_the_records_of_the_service(unpacked):
    toml = (unpacked / "etc/tandem/tandem.toml").read_text()
    in_force = [line for line in toml.splitlines() if line and line[0] not in "#["]
    assert 'url = "sqlite:/var/lib/tandem/tandem.db"' in in_force
    assert 'token_file = "/etc/tandem/admin-token"' in in_force
    for line in in_force:
        assert "/var/lib/tandem/" in line or line == 'token_file = "/etc/tandem/admin-token"', "the package decides only about places"
    unit = (unpacked / "lib/systemd/system/tandem.service").read_text()
    assert "\nStateDirectory=tandem\n" in unit


def test_prometheus_of_the_package_presents_the_token_of_the_package(unpacked):
    text = (unpacked / "usr/share/tandem/prometheus/prometheus.yml").read_text()
    assert "\n    authorization:\n      credentials_file: /etc/tandem/admin-token\n" in text, text
    needs("promtool")
    run("promtool", "check", "config", "--syntax-only", unpacked / "usr/share/tandem/prometheus/prometheus.yml")


def test_dialplans_of_the_package_present_the_token_and_show_it_to_nobody(unpacked):
    settings = (unpacked / "usr/share/tandem/freeswitch/vars_tandem.xml").read_text()
    assert 'cmd="exec-set" data="tandem_admin_token=cat /etc/tandem/admin-token' in settings
    asterisk = (unpacked / "usr/share/tandem/asterisk/extensions.conf").read_text()
    ask = re.search(r"^TANDEM_ASK=(.*)$", asterisk, re.MULTILINE)[1]
    learn = re.search(r"^TANDEM_LEARN=(.*)$", asterisk, re.MULTILINE)[1]
    assert all("/etc/tandem/admin-token" in asks and asks.endswith("-H @-") for asks in (ask, learn)), (ask, learn)
    asked = [line for line in asterisk.splitlines() if "System(" in line and "${TANDEM_ADMIN}/" in line]
    assert asked and all("System(${TANDEM_ASK} " in line for line in asked), asked


def test_installing_makes_a_token_and_an_upgrade_keeps_it(unpacked, tmp_path):
    """The part of postinst that makes the token, with the directory elsewhere and the owner as it is."""
    script = (unpacked / "DEBIAN" / "postinst").read_text()
    part = re.search(r"    if \[ ! -e /etc/tandem/admin-token \]; then\n.*?\n    fi\n", script, re.DOTALL)[0]
    part = part.replace("/etc/tandem", str(tmp_path)).replace("chown root:tandem", "true")
    run("sh", "-euc", part, "postinst", "configure", "")
    token = tmp_path / "admin-token"
    first = token.read_text()
    assert re.fullmatch(r"[0-9a-f]{64}\n", first) and token.stat().st_mode & 0o777 == 0o640
    run("sh", "-euc", part, "postinst", "configure", "0.1.0-1")
    assert token.read_text() == first and [path.name for path in tmp_path.iterdir()] == ["admin-token"]
