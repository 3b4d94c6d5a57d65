from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_documented_example_runs(root: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", ROOT.joinpath("docs/library.md").read_text(), re.DOTALL)
    code = code.replace("/tmp/library-example", str(root / "state"))
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "worker running", "cpus 0.5 -> 0.2", "stdout hello from inside", "exit code 0",
        "changed ['C /tmp', 'A /tmp/hostname']", "image ('docker.io/library/worker:changed',)", "memory 67108864", "exited 137",
    ]  # fmt: skip
    assert not root.joinpath("state").exists()
