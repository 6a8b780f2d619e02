"""What was left aside while images were listed: counted by reason, the first one named. Imports no torch."""

from toast_core.files import printable

# A reason: what one such thing is called, and several
NO_IMAGE = ("file that is no image by its name", "files that are no images by their names")
OTHER_KIND = ("image of a kind that is not read here, to be converted to PNG or JPEG", "images of kinds that are not read here, to be "
              "converted to PNG or JPEG")
HIDDEN = ("hidden file or folder", "hidden files or folders")
SYSTEM = ("thumbnail or system folder", "thumbnail or system folders")
DEAD_LINK = ("link to nothing", "links to nothing")
LOOP = ("link back to a folder that it lies in", "links back to folders that they lie in")
DEEP_LINK = ("link behind too many others", "links behind too many others")
NO_FILE = ("pipe, socket or device", "pipes, sockets or devices")
LOCKED = ("file or folder that cannot be looked at", "files or folders that cannot be looked at")
LOOSE = ("image beside the class folders", "images beside the class folders")
LATER = ("earlier version of a file in the archive", "earlier versions of files in the archive")
ARCHIVE_LINK = ("link inside the archive", "links inside the archive")
NO_LABEL = ("image without a row in the table of labels", "images without a row in the table of labels")
NO_CLASS = ("image whose row has no class", "images whose rows have no class")
MISSING = ("line of the list that names no file", "lines of the list that name no file")
NO_BYTES = ("row without an image", "rows without an image")

_SYSTEM_NAMES = {
    "@eadir", "__macosx", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "$recycle.bin", "system volume information",
    "lost+found", "__pycache__", "thumbs.db", "desktop.ini",
}


class Aside:
    """A tally of what is left aside."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list] = {}

    def add(self, reason: tuple[str, str], name: object, count: int = 1) -> None:
        """Count something by its reason; the first of each is named."""
        entry = self._found.setdefault(reason, [0, printable(str(name))])
        entry[0] += count

    def count(self, reason: tuple[str, str]) -> int:
        """How many were left aside for this reason."""
        return self._found.get(reason, [0])[0]

    def notes(self) -> tuple[str, ...]:
        """For example `left aside: 12 files that are no images by their names (first a/b.txt)`."""
        return tuple(
            f"left aside: {count:,} {reason[count > 1]} ({'first ' if count > 1 else ''}{first})"
            for reason, (count, first) in self._found.items()
        )


def hidden_or_system(name: str) -> tuple[str, str] | None:
    """The reason to leave something aside by its name alone: what systems hide, and what they put beside people's files."""
    if name.lower() in _SYSTEM_NAMES:
        return SYSTEM
    return HIDDEN if name.startswith(".") else None
