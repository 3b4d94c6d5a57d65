"""What happens with very many of something."""

from __future__ import annotations

import subprocess
import sys

from engine.api import Engine

_RULES_WITH_MANY_FILES = """
import os, resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
while os.open("/", os.O_PATH) < 1500:
    pass
from engine.linux import nftables
print(nftables.run("table ip many {}\\nlist tables\\n").strip())
"""


def test_rules_are_set_by_a_process_that_has_more_open_files_than_select_can_take() -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", _RULES_WITH_MANY_FILES], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "table ip many"), done.stderr


_MANY_WITH_FEW_FILES = """
import os, resource, sys
from pathlib import Path
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
from engine.api import Engine
from engine.model.container import ContainerSpec, ExecSpec
with Engine(Path(sys.argv[1])) as engine:
    sampler = engine.containers.sampler()
    spec = ContainerSpec("tuicon/demo", command=("sleep", "1000"), network="none")
    made = [engine.containers.run(spec).id for _ in range(8)]
    usages = sampler.sample()
    print(sorted(usages) == sorted(made), min(usage.counters.pids for usage in usages.values()))
    session = engine.containers.exec(made[0], ExecSpec(("sh", "-c", "ulimit -n; ls /proc/self/fd | wc -l")))
    text = b""
    while found := session.read(60):
        text += found[1]
    print(text.decode().split())
    for container in made:
        engine.containers.remove(container, force=True)
"""


def test_a_sampler_has_as_many_files_as_it_needs_and_containers_keep_the_usual_limit(engine: Engine) -> None:
    command = [sys.executable, "-c", _MANY_WITH_FEW_FILES, str(engine.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["True 1", "['64', '4']"]), done.stderr
