"""Redundancy of every block as a job."""

from dataclasses import dataclass, replace
from typing import ClassVar

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from toast_core.command import command_line
from toast_core.cost.macs import count_cost
from toast_core.setup import Setup
from toast_core.studies.base import Report, Work, check_sizes
from toast_core.studies.redundancy.store import analyze_redundancy, redundancy_identities
from toast_core.studies.subject import Subject
from toast_core.workbench import Workbench

_FACTORING = 35  # products of C x C matrices that a row of redundancy takes; measured on the demos


@dataclass(frozen=True)
class RedundancyRun:
    """Redundancy of every block on `images` images (None: all). An interrupted one begins again: its sums are in memory only."""

    kind: ClassVar[str] = "redundancy"
    overhead: ClassVar[float] = 1.5
    images: int | None = None
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_sizes(self.images, self.batch_size)

    def title(self) -> str:
        """`redundancy of every block`: it has no other extent."""
        return "redundancy of every block"

    def command(self, setup: Setup) -> str:
        """A `toast analyze` line."""
        return command_line("analyze", replace(setup, images=self.images, batch_size=self.batch_size), {"metrics": self.kind})

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """All or nothing: one pass makes every row. Each token adds a product of its channels to the sums, then matrices are factored."""
        subject = Subject.on(workbench, self.kind, self.images, self.batch_size)
        keys = [identity.key for identity in redundancy_identities(subject)]
        stored, shape = len(store.has_many(keys)), workbench.shape
        sums = sum(block.tokens * (block.hidden**2 + block.width**2) for block in shape.blocks)
        finish = _FACTORING * sum(block.hidden**3 + block.width**3 for block in shape.blocks)
        macs = 0 if stored == len(keys) else len(subject.data) * (count_cost(shape).macs + sums) + finish
        return Work(len(keys), stored, len(subject.data), macs, 0)

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
        """Measure all rows unless they are stored; steps are images."""
        return analyze_redundancy(Subject.on(workbench, self.kind, self.images, self.batch_size), store, progress=report)[0]

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """For example `24 rows measured`."""
        return f"{len(analysis.cell_keys)} rows measured"
