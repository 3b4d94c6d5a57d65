"""`--change`: expectations follow the Dockerfile reference; tests/kernel/test_commit.py asks docker itself."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import InvalidArgument
from engine.oci.instructions import apply

BASE: dict[str, Any] = {"Env": ["PATH=/bin", "HOME=/root"], "WorkingDir": "/srv", "Labels": {"a": "1"}}


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ('CMD ["a", "b c"]', "Cmd", ["a", "b c"]),
        ("CMD echo $HOME", "Cmd", ["/bin/sh", "-c", "echo $HOME"]),
        ("cmd [ -f x ]", "Cmd", ["/bin/sh", "-c", "[ -f x ]"]),
        ('ENTRYPOINT ["/run"]', "Entrypoint", ["/run"]),
        ("ENV A=1 B=\"two words\" C='$HOME' D=$HOME E=${HOME}x", "Env", [*BASE["Env"], "A=1", "B=two words", "C=$HOME", "D=/root", "E=/rootx"]),
        ("ENV PATH=/opt:$PATH", "Env", ["PATH=/opt:/bin", "HOME=/root"]),
        ("ENV OLD form of it", "Env", [*BASE["Env"], "OLD=form of it"]),
        (r"ENV A=one\ word B=\$HOME", "Env", [*BASE["Env"], "A=one word", "B=$HOME"]),
        ("EXPOSE 80 53/UDP 8000-8001", "ExposedPorts", {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}}),
        ('LABEL b="two words" c=3', "Labels", {"a": "1", "b": "two words", "c": "3"}),
        ("USER 1000:50", "User", "1000:50"),
        ("WORKDIR sub/../other", "WorkingDir", "/srv/other"),
        ("WORKDIR /abs", "WorkingDir", "/abs"),
        ('VOLUME ["/a b", "/c"]', "Volumes", {"/a b": {}, "/c": {}}),
        ("VOLUME /a /b", "Volumes", {"/a": {}, "/b": {}}),
        ("STOPSIGNAL SIGINT", "StopSignal", "SIGINT"),
        ("ONBUILD RUN make", "OnBuild", ["RUN make"]),
        ("HEALTHCHECK NONE", "Healthcheck", {"Test": ["NONE"]}),
        ("HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD true || false", "Healthcheck",
            {"Test": ["CMD-SHELL", "true || false"], "Interval": 90 * 10**9, "Timeout": 5 * 10**8, "Retries": 3}),
        ('HEALTHCHECK CMD ["true"]', "Healthcheck", {"Test": ["CMD", "true"]}),
    ],
)  # fmt: skip
def test_an_instruction_changes_its_field_alone(line: str, name: str, value: object) -> None:
    before = {key: list(item) if isinstance(item, list) else item for key, item in BASE.items()}
    assert apply(BASE, (line,)) == {**BASE, name: value}
    assert before == BASE


@pytest.mark.parametrize(
    "line",
    [
        "RUN make", "", "ENV", "ENV LONELY", 'ENV A="open', "ENV A=1 B", "EXPOSE 70000", "EXPOSE http", "EXPOSE 20-10",
        "HEALTHCHECK true", "HEALTHCHECK --interval=soon CMD true", "HEALTHCHECK CMD", "ONBUILD FROM x", "CMD ",
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused(line: str) -> None:
    with pytest.raises(InvalidArgument):
        apply(BASE, (line,))
