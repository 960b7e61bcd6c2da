"""What a model was made with."""

import hashlib
import platform
from importlib.metadata import version

from taxiway.environment import Environment, environment, pinned


def test_distributions_are_sorted_and_normalized_and_the_first_on_the_path_counts() -> None:
    found = [("Zope.Interface", "6.0"), ("attrs", "23.1"), ("zope_interface", "5.0"), (None, "1"), ("torn", None)]
    assert pinned(found) == ("attrs==23.1", "zope-interface==6.0")


def test_this_processs_environment_is_what_is_installed() -> None:
    found = environment({})
    assert f"numpy=={version('numpy')}" in found.distributions
    assert list(found.distributions) == sorted(found.distributions, key=lambda line: line.partition("==")[0])
    assert found.python == f"CPython {platform.python_version()}"
    assert found.image is None
    assert "image" not in found.summary


def test_the_image_is_what_the_variable_says() -> None:
    image = "registry.example/taxiway@sha256:" + "ab" * 32
    assert environment({"TAXIWAY_IMAGE": f" {image}\n"}).summary["image"] == image
    assert environment({"TAXIWAY_IMAGE": " "}).image is None


def test_the_digest_is_that_of_the_file() -> None:
    found = Environment(python="CPython 3.11.9", platform="Linux", distributions=("a==1", "b==2"))
    assert found.text == "a==1\nb==2\n"
    assert found.digest == hashlib.sha256(b"a==1\nb==2\n").hexdigest()
    assert found.summary == {
        "python": "CPython 3.11.9",
        "platform": "Linux",
        "distributions": "2",
        "digest": found.digest,
    }
    other = found.model_copy(update={"distributions": ("a==1", "b==3")})
    assert other.digest != found.digest
