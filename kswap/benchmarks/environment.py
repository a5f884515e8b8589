"""The machine that a time was measured on: without it the time says nothing."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from kswap.malloc import KEEPING, has_glibc
from kswap.packages import installed_versions
from kswap.version import __version__

_PACKAGES = ("torch", "timm", "onnx", "onnxruntime", "openvino", "executorch")


@dataclass(frozen=True)
class Machine:
    """What a reader has to know about where and when something was measured.

    ``cores`` are those that this process may use, ``threads`` those that a pass uses, ``versions`` those of the
    packages that are installed, ``malloc`` the variables that keep memory in the process, ``date`` is UTC.
    """

    cpu: str
    cores: int
    threads: int
    gpu: str | None
    system: str
    python: str
    kswap: str
    versions: Mapping[str, str]
    malloc: Mapping[str, str]
    date: str

    @classmethod
    def here(cls, threads: int | None = None) -> Machine:
        """This machine, now. ``threads`` is what was asked for; ``None`` is torch's default."""
        return cls(
            cpu=_cpu(),
            cores=_cores(),
            threads=threads or torch.get_num_threads(),
            gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            kswap=__version__,
            versions={name: version for name, version in installed_versions(_PACKAGES).items() if version},
            malloc={key: os.environ[key] for key in KEEPING if key in os.environ} if has_glibc() else {},
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )

    @property
    def keeps_memory(self) -> bool:
        """Whether glibc was told to keep memory between passes."""
        return set(self.malloc) >= {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}

    def hardware(self) -> str:
        """``AMD EPYC (AVX512), 2 cores, 1 thread, no GPU``."""
        parts = (self.cpu, _counted(self.cores, "core"), _counted(self.threads, "thread"), self.gpu or "no GPU")
        return ", ".join(parts)

    def software(self) -> str:
        """``Linux x86_64, Python 3.11.9, torch 2.11.0, kswap 1.0``."""
        packages = [f"{name} {version}" for name, version in self.versions.items()]
        return ", ".join((self.system, f"Python {self.python}", *packages, f"kswap {self.kswap}"))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> str:
    """Name and vector instructions; the name alone may be no more than that of the vendor."""
    name = platform.processor() or platform.machine()
    table = Path("/proc/cpuinfo")
    if table.is_file():
        lines = (line.partition(":") for line in table.read_text(encoding="utf-8", errors="replace").splitlines())
        name = next((value.strip() for key, _, value in lines if key.strip() == "model name"), name)
    capability = torch.backends.cpu.get_cpu_capability()
    return name if capability in ("", "DEFAULT", "NO AVX") else f"{name} ({capability})"
