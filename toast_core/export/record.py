"""What an export came to. Imports no torch."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class ExportRecord:
    """What was written, and how far it is from the model.

    format               its name in FORMATS
    path                 the file's name, without its folder
    bytes                of the file and of those beside it that belong to it
    relative_difference  largest difference of a logit over the largest logit, exported against compact, over all `images`
    images               how many images were compared
    sha256               of the file; a loader names the digest of its program
    """

    format: str
    path: str
    bytes: int
    relative_difference: float
    images: int
    sha256: str

    def to_dict(self) -> dict:
        """Return the fields as plain values."""
        return asdict(self)
