"""The history on the command line: `stats --since`, its exports, and advice."""

from __future__ import annotations

import argparse
import csv
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from engine.model.history import Advice, Sample
from engine.model.value import names
from tuicon.cli import output
from tuicon.cli.failure import Usage
from tuicon.model import tuning, units

if TYPE_CHECKING:
    from engine.api import Engine
    from engine.model.container import Container

_NAMES = names(Sample)
_MOST_ROWS = 24
_UNITS = {
    "cpu": "cores", "cpu_max": "cores", "memory": "bytes", "memory_max": "bytes", "cache": "bytes", "swap": "bytes",
    "read": "bytes_per_second", "write": "bytes_per_second", "rx": "bytes_per_second", "tx": "bytes_per_second",
    "read_ops": "per_second", "write_ops": "per_second", "throttled": "percent", "cpu_pressure": "percent",
    "memory_pressure": "percent", "io_pressure": "percent", "memory_full": "percent", "io_full": "percent",
}  # fmt: skip


def show(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon stats --since."""
    now = datetime.now(UTC)
    since = units.parse_moment(arguments.since, now)
    until = units.parse_moment(arguments.until, now) if arguments.until else None
    if until and until <= since:
        raise Usage("stats: --until is before --since")
    series = [
        (container, engine.containers.history.samples(container.id, since, until, arguments.step))
        for container in _containers(engine, arguments.containers)
    ]
    export = arguments.export or ("json" if arguments.json else "")
    {"csv": _as_csv, "json": _as_json, "openmetrics": _as_openmetrics, "": _as_table}[export](series)
    return 0


def _containers(engine: Engine, refs: list[str]) -> list[Container]:
    return [engine.containers.get(ref) for ref in refs] if refs else list(engine.containers.list())


def _as_csv(series: list[tuple[Container, tuple[Sample, ...]]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("container", "name", *_NAMES))
    for container, samples in series:
        for sample in samples:
            values = (getattr(sample, name) for name in _NAMES[1:])
            writer.writerow((container.id, container.name, _stamp(sample), *(f"{value:.6g}" for value in values)))


def _as_json(series: list[tuple[Container, tuple[Sample, ...]]]) -> None:
    for container, samples in series:
        for sample in samples:
            output.json_line({"container": container.id, "name": container.name, **output.plain(sample)})


def _as_openmetrics(series: list[tuple[Container, tuple[Sample, ...]]]) -> None:
    """Print samples with their times, for `promtool tsdb create-blocks-from openmetrics`."""
    for name in _NAMES[2:]:
        unit = _UNITS.get(name, "")
        metric = f"tuicon_history_{name}" + (f"_{unit}" if unit else "")
        print(f"# TYPE {metric} gauge")
        for container, samples in series:
            labels = f'{{id="{container.id}",name="{container.name}"}}'
            for sample in samples:
                print(f"{metric}{labels} {getattr(sample, name):.6g} {sample.time.timestamp():.0f}")
    print("# EOF")


def _as_table(series: list[tuple[Container, tuple[Sample, ...]]]) -> None:
    """Print a summary of each container, and of one alone its course."""
    from engine.api import percentile

    rows = []
    for container, samples in series:
        if samples:
            cpu, memory = [sample.cpu for sample in samples], [sample.memory_max for sample in samples]
            rows.append((
                container.name, units.short_duration(sum(sample.seconds for sample in samples)),
                f"{100 * sum(cpu) / len(cpu):.1f}%", f"{100 * percentile(cpu, 0.95):.1f}%",
                f"{100 * max(sample.cpu_max for sample in samples):.1f}%",
                f"{max(sample.throttled for sample in samples):.0f}%", units.size(memory[-1]), units.size(max(memory)),
                units.rate(max(sample.read for sample in samples)), units.rate(max(sample.write for sample in samples)),
                f"{max(max(sample.memory_pressure, sample.io_pressure, sample.cpu_pressure) for sample in samples):.0f}%",
                f"{sum(sample.oom_kills for sample in samples):.0f}",
            ))  # fmt: skip
        else:
            rows.append((container.name, "nothing is known", *("-",) * 10))
    titles = ("NAME", "KNOWN", "CPU MEAN", "CPU P95", "CPU PEAK", "THROTTLED", "MEM NOW", "MEM PEAK", "READ PEAK",
        "WRITE PEAK", "PRESSURE", "OOM KILLS")  # fmt: skip
    output.table(titles, rows)
    if len(series) == 1 and series[0][1]:
        print()
        _course(series[0][1])


def _course(samples: tuple[Sample, ...]) -> None:
    stride = -(-len(samples) // _MOST_ROWS)
    rows = []
    for place in range(0, len(samples), stride):
        part = samples[place : place + stride]
        rows.append((
            part[0].time.astimezone().strftime("%d %H:%M:%S"), f"{100 * sum(s.cpu for s in part) / len(part):.1f}%",
            f"{max(s.throttled for s in part):.0f}%", units.size(max(s.memory_max for s in part)),
            units.rate(sum(s.read for s in part) / len(part)), units.rate(sum(s.write for s in part) / len(part)),
            units.rate(sum(s.rx for s in part) / len(part)), units.rate(sum(s.tx for s in part) / len(part)),
        ))  # fmt: skip
    output.table(("FROM", "CPU", "THROTTLED", "MEMORY", "READ", "WRITE", "RECEIVED", "SENT"), rows)


def _stamp(sample: Sample) -> str:
    return sample.time.isoformat().replace("+00:00", "Z")


def advise(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon advise."""
    if not 0 <= arguments.headroom <= 400:
        raise Usage("advise: the headroom is between 0 and 400 percent")
    over = timedelta(seconds=arguments.over)
    found = [
        (container, engine.containers.history.advise(container.id, over, arguments.headroom / 100))
        for container in _containers(engine, arguments.containers)
    ]
    if arguments.apply:
        for container, advice in found:
            _apply(engine, container, advice, arguments.apply)
    if arguments.json:
        output.as_json([advice for _, advice in found])
        return 0
    rows = [_advice_row(container, advice) for container, advice in found]
    output.table(("NAME", "KNOWN", "CONFIDENCE", "CPU P95", "CPUS", "ADVISED", "MEM PEAK", "MEMORY", "ADVISED"), rows)
    for container, advice in found:
        for sentence in advice.evidence:
            print(f"{container.name}: {sentence}")
    return 0


def _advice_row(container: Container, advice: Advice) -> tuple[str, ...]:
    limits = container.limits
    cpus = f"{limits.effective_cpus:g}" if limits.effective_cpus else "none"
    memory = units.size(limits.memory) if limits.memory else "none"
    return (
        container.name, units.short_duration(advice.hours * 3600), advice.confidence, f"{advice.cpu_p95:.2f}", cpus,
        f"{advice.cpus:g}" if advice.cpus else "-", units.size(advice.memory_peak), memory,
        units.size(advice.memory) if advice.memory else "-",
    )  # fmt: skip


def _apply(engine: Engine, container: Container, advice: Advice, seconds: float) -> None:
    """Put the advice on trial."""
    change = tuning.advised(advice)
    if change is not None:
        engine.containers.tuning.update(container.id, change, seconds=seconds)
