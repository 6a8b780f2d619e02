"""The pruned file that an apply run has written, found by the key of its record: what exports and certificates are made of."""

from dataclasses import dataclass
from pathlib import Path

from analysis_cache.key import is_key
from analysis_cache.store import EvidenceStore
from toast_core.errors import JobError
from toast_core.files import sha256_of
from toast_core.setup import Setup
from toast_core.studies.agreement.job import file_path
from toast_core.studies.agreement.result import Agreement


@dataclass(frozen=True)
class PrunedFile:
    """The file, and what was measured of it."""

    path: Path
    record: Agreement

    @classmethod
    def find(cls, setup: Setup, store: EvidenceStore, key: str) -> "PrunedFile":
        """The file of the record under this key.

        Raises:
            JobError: there is no such record, or its file is gone or changed.
        """
        found = store.heads([key]) if is_key(key) else []
        path = file_path(setup, key)
        if not found or not path.is_file() or sha256_of(path) != found[0].summary.get("file_sha256"):
            raise JobError(f"the pruned file of record {key[:8]!r} is not on this machine, or was changed; check the schedule again")
        return cls(path, Agreement.from_dict(found[0].summary))
