"""The image under test: TAXIWAY_TEST_IMAGE, or one that is built from this tree.

TAXIWAY_BASE_IMAGE: what it is built from; without it a base is made of Debian's packages. TAXIWAY_BUILD_MOUNTS: what
the builder needs of this machine, such as certificates, as podman's --volume takes them, with commas between.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.podman import podman

_LOCAL_BASE = "localhost/taxiway-base:bookworm"
_BUILT = "localhost/taxiway:test"


@pytest.fixture(scope="session")
def base_image() -> str:
    given = os.environ.get("TAXIWAY_BASE_IMAGE", _LOCAL_BASE)
    if given == _LOCAL_BASE and not podman("images", "--quiet", _LOCAL_BASE):
        done = subprocess.run(["cluster/image/local_base.sh", _LOCAL_BASE], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-3000:]
    return given


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> str:
    """The name of the image, target `cpu`."""
    if given := os.environ.get("TAXIWAY_TEST_IMAGE"):
        return given
    base = request.getfixturevalue("base_image")
    mounts = [f"--volume={it}" for it in os.environ.get("TAXIWAY_BUILD_MOUNTS", "").split(",") if it]
    podman(
        "build", "--format=docker", "--network=host", "--file=cluster/Dockerfile", "--target=cpu", f"--tag={_BUILT}",
        f"--build-arg=BASE_IMAGE={base}", "--build-arg=VERSION=0.1.0", "--build-arg=REVISION=0123abc",
        "--build-arg=CREATED=2026-01-01T00:00:00Z", *mounts, str(Path.cwd()),
        timeout_s=3000,
    )  # fmt: skip
    return _BUILT
