"""What the tests of packages and deployment share: where things are, and a package made of the debug build."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / os.environ.get("PROFILE", "debug") / "tandem"

# Compressing is what takes long, and nobody downloads these packages.
BUILD = {**os.environ, "DPKG_DEB_COMPRESSOR_TYPE": "none"}


def run(*command, **options):
    """The finished command, with its output as text; fails with that output where it did."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=600, **options
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


def needs(tool):
    """Leaves a test out on machines without the tool; where Debian's packages can be installed it is there."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not here")


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """The relay's package, and a later version of it."""
    needs("dpkg-deb")
    assert BINARY.is_file(), f"{BINARY} is not built: cargo build"
    folder = tmp_path_factory.mktemp("packages")
    build = ROOT / "deploy" / "debian" / "build.sh"
    return [
        Path(run(build, BINARY, folder, *version, env=BUILD).stdout.strip()) for version in ([], ["99.0-1"])
    ]
