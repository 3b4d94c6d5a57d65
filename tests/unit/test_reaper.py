"""The program of process 1 is what its sources say, and runs on the machines it is for."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from engine.sandbox import reaper

SOURCES = Path(reaper.__file__).parent
ASSEMBLERS = {"x86_64": ("as", "llvm-mc"), "aarch64": ("aarch64-linux-gnu-as", "llvm-mc")}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_bytes_are_the_assembled_source(machine: str, tmp_path: Path) -> None:
    assembler = next(filter(shutil.which, ASSEMBLERS[machine]), None)
    if assembler is None or shutil.which("objcopy") is None:
        pytest.skip("no assembler for this machine here")
    options = [f"-triple={machine}-linux-gnu", "-filetype=obj"] if assembler == "llvm-mc" else []
    made, code = tmp_path / "made.o", tmp_path / "code"
    subprocess.run([assembler, *options, "-o", made, SOURCES / f"reaper_{machine}.s"], check=True)
    subprocess.run(["objcopy", "-I", "elf64-little", "-O", "binary", "-j", ".text", made, code], check=True)
    assert reaper.code_of(machine) == code.read_bytes()


@pytest.mark.parametrize(
    ("machine", "emulator"), [("x86_64", "qemu-x86_64-static"), ("aarch64", "qemu-aarch64-static")]
)
def test_the_program_takes_signals_and_asks_for_children_under_an_emulator(
    machine: str, emulator: str, tmp_path: Path
) -> None:
    if shutil.which(emulator) is None:
        pytest.skip("no emulator for this machine here")
    program = tmp_path / "program"
    program.write_bytes(reaper.program(machine, 1_999_999_999))
    program.chmod(0o755)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        process = subprocess.Popen([emulator, "-strace", program], stderr=subprocess.PIPE, text=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    process.send_signal(signal.SIGUSR1)
    assert process.stderr is not None
    said = iter(process.stderr.readline, "")
    assert any("kill(1999999999,SIGUSR1)" in line for line in said)
    process.kill()
    process.wait()
