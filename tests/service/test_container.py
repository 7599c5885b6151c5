"""The image and `docker-compose.yml` keep up with the settings and the tree."""

import re

from service.settings import Settings
from tests.service.process import ROOT


def test_compose_passes_every_setting_on() -> None:
    """Where to listen is said by the port that the container is published on."""
    passed = re.findall(r"^  RESNET_(\w+):", (ROOT / "docker-compose.yml").read_text(), re.M)

    assert sorted(passed) == sorted(
        {name.upper() for name in Settings.model_fields} - {"HOST", "PORT"}
    )


def test_compose_has_a_secret_for_each_file_of_keys() -> None:
    """In an override the variable is the host's path; the container gets the secret's."""
    found = set()
    for file in (ROOT / "deploy/compose").glob("*.yml"):
        text = file.read_text()
        mounted = dict(re.findall(r"^    RESNET_(\w+): /run/secrets/([\w-]+)$", text, re.M))
        secrets = re.findall(r'^  ([\w-]+):\n    file: "\$\{RESNET_(\w+):\?', text, re.M)

        assert mounted
        assert {setting: name for name, setting in secrets} == mounted
        found |= {setting.lower() for setting in mounted}
    files = {name for name in Settings.model_fields if re.search("keys_file|^tls_", name)}
    assert found == files


def test_the_image_is_built_from_files_that_the_context_has() -> None:
    lines = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    sent = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.M)

    copied = {name for line in lines for name in line.split()}
    assert copied == set(sent)
    assert all((ROOT / name).exists() for name in copied)
