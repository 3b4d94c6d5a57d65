"""What happens with very many of something."""

from __future__ import annotations

import subprocess
import sys

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
