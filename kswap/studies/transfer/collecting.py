"""The results in the files of a study, put together."""

from __future__ import annotations

from collections import defaultdict

from kswap.errors import StudyError
from kswap.studies.accuracy import Accuracy
from kswap.studies.files import read, write
from kswap.studies.latency import Latencies, latencies_of
from kswap.studies.transfer.cases import CaseResult
from kswap.studies.transfer.files import StudyFiles
from kswap.studies.transfer.methods import find_method
from kswap.studies.transfer.result import ORIGINAL, Original, Row, TransferStudy
from kswap.studies.transfer.settings import Settings


def study_in(files: StudyFiles, command: str = "") -> TransferStudy:
    """All results that are there. Latencies are measured again where a network has none.

    Raises :class:`StudyError` where no case is done.
    """
    settings, original = read(files.settings, Settings), read(files.original, Original)
    by_network: dict[str, list[CaseResult]] = defaultdict(list)
    for path in files.results():
        result = read(path, CaseResult)
        by_network[result.case.network].append(result)
    latencies = _latencies(files, settings)
    rows = [_row(settings, network, results, latencies) for network, results in by_network.items()]
    rows.sort(key=lambda row: (-row.share, -(row.final or row.untrained).mean))
    return TransferStudy(settings, original, tuple(rows), latencies, command)


def _latencies(files: StudyFiles, settings: Settings) -> Latencies:
    graphs = {path.stem for path in files.graphs.glob("*.onnx")}
    if files.latencies.exists():
        found = read(files.latencies, Latencies)
        if graphs <= set(found.networks):
            return found
    if not graphs:
        raise StudyError(f"{files.root} has no networks to measure yet: run a case first")
    found = latencies_of(files.graphs, ORIGINAL, settings.latency_side, settings.threads)
    write(files.latencies, found)
    return found


def _row(settings: Settings, network: str, results: list[CaseResult], latencies: Latencies) -> Row:
    ordered = sorted(results, key=lambda result: (result.case.seed, result.case.images))
    first, method = ordered[0], find_method(ordered[0].case.method)
    short = [result for result in ordered if result.case.images == settings.images]

    def accuracy(cases: list[CaseResult], images: int) -> Accuracy | None:
        values = tuple(value for case in cases if (value := case.accuracies.get(str(images))) is not None)
        return Accuracy(values) if values else None

    return Row(
        method=method.name,
        title=method.title,
        ours=method.ours,
        share=first.case.share,
        params=first.params,
        macs=first.macs,
        note=first.note,
        lr=first.lr,
        untrained=accuracy(short or ordered, 0) or Accuracy((0.0,)),
        early=accuracy(short, settings.early),
        final=accuracy(short, settings.images),
        long=accuracy(ordered, settings.long_images) if settings.long_images else None,
        latency=latencies.networks.get(network),
    )
