"""The Debian package in a Debian of its own: installed, started, upgraded, removed and purged. `make deb-test` runs it.

Needs root, debootstrap, and the network once: the bare system is kept in target/ for the next time. It is the release of
this machine, from the mirror of this machine, because the package is linked for it.
"""

import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT, run

CODENAME = re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.MULTILINE)[1]
BARE = ROOT / "target" / f"debian-{CODENAME}.tar"
# What the package depends on, so that dpkg alone can install it.
NEEDED = "adduser,ca-certificates,libgcc-s1,libopus0,libssl3"
PATIENCE_S = 30


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """A Debian without the package."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("needs root and debootstrap")
    if not BARE.is_file():
        target = f"{CODENAME}/main"
        lines = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)/$(COMPONENT)", "Created-By: Packages")
        mirror = next(line.split()[0] for line in lines.stdout.splitlines() if line.endswith(f" {target}"))
        fresh = tmp_path_factory.mktemp("debootstrap") / "root"
        run("debootstrap", "--variant=minbase", f"--include={NEEDED}", CODENAME, fresh, mirror)
        run("tar", "--one-file-system", "-C", fresh, "-cf", BARE, ".")
    root = tmp_path_factory.mktemp("debian")
    run("tar", "-C", root, "-xf", BARE)
    # Others than root may walk in.
    for folder in [root, *root.parents][:3]:
        folder.chmod(0o755)
    return root


def inside(root, *command):
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    return run("chroot", root, *command, env=environment)


def install(root, package):
    shutil.copy(package, root / "tmp.deb")
    inside(root, "dpkg", "--install", "/tmp.deb")
    (root / "tmp.deb").unlink()


def files(root):
    """Every path, but for what dpkg, adduser and the C library keep about themselves."""
    own = ("run/", "var/lib/dpkg/", "var/log/", "var/cache/", "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-")
    paths = {str(path.relative_to(root)) for path in root.rglob("*")}
    return {path for path in paths if not path.startswith(own)}


def owner(path):
    status = path.stat()
    return (status.st_uid == 0, oct(status.st_mode & 0o777))


def start(root):
    """The process that the unit would start, as its user, and where its admin server is."""
    unit = (root / "lib/systemd/system/tandem.service").read_text()
    command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)[1].split()
    user = re.search(r"^User=(.*)$", unit, re.MULTILINE)[1]
    environment = {
        "AUDIO_SOCKET_HOST": "127.0.0.1",
        "FREESWITCH_AUDIO_SOCKET_PORT": "0",
        "TANDEM_ADMIN_LISTEN": "127.0.0.1:0",
        # Nobody is there; loopback needs no key.
        "GEMINI_BASE_URL": "ws://127.0.0.1:9",
        "STATE_DIRECTORY": "/var/lib/tandem",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    process = subprocess.Popen(
        ["chroot", f"--userspec={user}:{user}", root, *command], env=environment, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        found = re.search(r"admin server: (http://\S+)", line)
        if found:
            return process, found[1]
    raise AssertionError(f"it ended with {process.wait()}")


def test_from_installing_to_purging(system, packages):
    before, users = files(system), (system / "etc/passwd").read_text()

    install(system, packages[0])
    version = inside(system, "tandem", "--version").stdout
    assert re.fullmatch(r"tandem \d+\.\d+\.\d+\n", version)
    account = inside(system, "getent", "passwd", "tandem").stdout.strip().split(":")
    assert account[5] == "/var/lib/tandem" and account[6].endswith("nologin"), account
    enabled = system / "etc/systemd/system/multi-user.target.wants/tandem.service"
    assert enabled.is_symlink(), "the unit is not enabled"
    toml = system / "etc/tandem/tandem.toml"
    token = toml.with_name("admin-token")
    for file, state in {toml: "0o640", toml.with_name("tandem.env"): "0o600", token: "0o640"}.items():
        assert owner(file) == (True, state), file
    secret = token.read_text()
    assert re.fullmatch(r"[0-9a-f]{64}\n", secret)
    assert owner(system / "var/lib/tandem") == (False, "0o750")
    # The account may read the configuration, and the relay takes it.
    inside(system, "su", "--shell", "/bin/sh", "tandem", "-c", "tandem --config /etc/tandem/tandem.toml --check")

    process, admin = start(system)
    try:
        with urllib.request.urlopen(f"{admin}/healthz", timeout=PATIENCE_S) as answer:
            assert answer.status == 200
        # Who may not read the token is no operator, and who presents it is one.
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{admin}/readyz", timeout=PATIENCE_S)
        asked = urllib.request.Request(f"{admin}/readyz", headers={"Authorization": f"Bearer {secret.strip()}"})
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            assert answer.status == 200
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^Uid:\t(\d+)\t", status, re.MULTILINE)[1] == account[2], "it runs as somebody else"
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(timeout=PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()

    changed = re.sub(r"^# seconds = 30$", "seconds = 7", toml.read_text(), flags=re.MULTILINE)
    toml.write_text(changed)
    prompt = toml.with_name("instructions.txt")
    prompt.write_text("Be brief.")
    (system / "var/lib/tandem/tandem.db").write_text("records")
    install(system, packages[1])
    assert inside(system, "dpkg-query", "--show", "--showformat=${Version}", "tandem").stdout == "99.0-1"
    assert toml.read_text() == changed and owner(toml) == (True, "0o640")
    assert token.read_text() == secret and owner(token) == (True, "0o640"), "an upgrade keeps the token"
    assert not list(toml.parent.glob("*.dpkg-*"))
    in_force = inside(system, "tandem", "--config", "/etc/tandem/tandem.toml", "--check").stdout
    assert re.search(r"^drain\.seconds\s*=?\s*7\b", in_force, re.MULTILINE), in_force

    inside(system, "dpkg", "--remove", "tandem")
    assert not (system / "usr/bin/tandem").exists()
    assert toml.read_text() == changed and (system / "var/lib/tandem/tandem.db").exists(), "kept until the purge"

    inside(system, "dpkg", "--purge", "tandem")
    assert files(system) - before == set()
    assert before - files(system) == set()
    assert (system / "etc/passwd").read_text() == users
