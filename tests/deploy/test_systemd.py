"""The unit: valid, hardened as far as it was, and in keeping with the relay's own numbers."""

import re
import tempfile
from pathlib import Path

from conftest import ROOT, needs, run

UNIT = ROOT / "deploy" / "systemd" / "tandem.service"
# What systemd-analyze calls exposure, 10 at worst. What is left: the network, which is the relay's task, and what only
# a root directory of its own would take away.
EXPOSURE_MAX = 1.5


def settings(key):
    """All values of a key, in order."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def constant(path, name):
    """A number in the relay's source."""
    text = (ROOT / path).read_text()
    return int(re.search(rf"{name}: \w+ = ([\d_]+)", text)[1].replace("_", ""))


def test_systemd_takes_the_unit():
    needs("systemd-analyze")
    with tempfile.TemporaryDirectory() as folder:
        # The binary is where the package puts it, and not on this machine.
        copy = Path(folder) / "tandem.service"
        copy.write_text(UNIT.read_text().replace("/usr/bin/tandem", "/bin/true"))
        done = run("systemd-analyze", "verify", "--man=no", copy)
        assert "tandem.service" not in done.stderr, done.stderr


def test_systemd_takes_the_sockets_which_are_those_of_the_defaults():
    needs("systemd-analyze")
    sample = (ROOT / "deploy" / "tandem.toml").read_text()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / UNIT.name).write_text(UNIT.read_text().replace("/usr/bin/tandem", "/bin/true"))
        for name, fd_name, default in (
            ("tandem.socket", "legs", re.search(r"^# port = (\d+)", sample, re.MULTILINE)[1]),
            ("tandem-admin.socket", "admin", re.search(r'^# listen = "(.*)"', sample, re.MULTILINE)[1]),
        ):
            unit = (UNIT.parent / name).read_text()
            assert re.search(rf"^ListenStream=.*{re.escape(default)}$", unit, re.MULTILINE), unit
            assert f"FileDescriptorName={fd_name}\n" in unit
            copy = Path(folder) / name
            copy.write_text(unit)
            done = run("systemd-analyze", "verify", "--man=no", copy)
            assert name not in done.stderr, done.stderr


def test_the_unit_stays_hardened():
    needs("systemd-analyze")
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", UNIT)
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)[1])
    assert exposure <= EXPOSURE_MAX, done.stdout


def test_the_limit_of_open_files_fits_the_calls_that_it_promises():
    per_call = constant("src/server/prerequisites.rs", "DESCRIPTORS_PER_CALL")
    more = constant("src/server/prerequisites.rs", "DESCRIPTORS_MORE")
    promised = int(re.search(r"listen\.max_calls = (\d+)", UNIT.read_text())[1])
    assert int(settings("LimitNOFILE")[0]) >= promised * per_call + more
    assert f"{more} more" in UNIT.read_text()


def test_stopping_may_take_longer_than_draining_by_default():
    sample = (ROOT / "deploy" / "tandem.toml").read_text()
    seconds = int(re.search(r"\[drain\].*?^# seconds = (\d+)", sample, re.MULTILINE | re.DOTALL)[1])
    assert int(settings("TimeoutStopSec")[0].removesuffix("s")) >= seconds + 15


def test_wrong_configuration_is_not_tried_again():
    status = constant("src/cli.rs", "STATUS_WRONG_USE")
    assert settings("RestartPreventExitStatus") == [str(status)]


def test_the_relay_may_do_what_it_does():
    families = settings("RestrictAddressFamilies")[0].split()
    assert {"AF_INET", "AF_INET6", "AF_UNIX"} <= set(families)
    assert settings("Type") == ["notify"] and settings("StateDirectory") == ["tandem"]
    assert settings("Restart") == ["on-failure"], "which a watchdog's end is, too"
