"""What is kept with a container's output, by the options of its log driver."""

from __future__ import annotations

import json

import pytest

from engine.api import Engine
from engine.errors import InvalidArgument
from engine.model.container import ContainerSpec, LogOptions
from tests.kernel.test_lifecycle import IMAGE
from tuicon.cli import containers as cli
from tuicon.cli.parser import build


def test_labels_variables_and_a_tag_are_kept_with_each_entry(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    log = LogOptions(tag="{{.Name}}/{{ .ID }}/{{.ImageName}}", labels=("team", "absent"), env=("WHO", "NONE"))
    spec = ContainerSpec(IMAGE, name="tagged", command=("sh", "-c", "echo out; echo err >&2"), network="none", log=log,
        labels={"team": "blue sky", "other": "x"}, env=("WHO=me=you", "OTHER=y"))  # fmt: skip
    container = engine.containers.run(spec)
    assert engine.containers.wait(container.id, timeout=120) == 0
    expected = {"team": "blue sky", "WHO": "me=you", "tag": f"tagged/{container.short_id}/{IMAGE}"}
    with open(container.log_path) as file:
        entries = [json.loads(line) for line in file]
    assert [entry["attrs"] for entry in entries] == [expected] * 2
    assert {entry["stream"] for entry in entries} == {"stdout", "stderr"}
    assert [entry.attributes for entry in engine.containers.logs(container.id)] == [expected] * 2
    assert engine.containers.inspect(container.id)["HostConfig"]["LogConfig"]["Config"] == {
        "tag": log.tag, "labels": "team,absent", "env": "WHO,NONE"}  # fmt: skip
    cli.logs(engine, build().parse_args(["logs", "--details", container.id]))
    details = f"WHO=me%3Dyou,tag=tagged%2F{container.short_id}%2Ftuicon%2Fdemo,team=blue+sky"  # as docker prints them
    assert capsys.readouterr().out == f"{details} out\n"


def test_a_tag_with_an_unknown_field_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidArgument, match="unknown field"):
        engine.containers.create(ContainerSpec(IMAGE, network="none", log=LogOptions(tag="{{.Mood}}")))
    assert engine.containers.list() == ()
