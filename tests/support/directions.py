"""The table of directions: a part may import itself and whatever stands on a floor above its own in this table, that is, below it.

A part is a module or folder of `toast_core`, a room of `dashboard`, or `analysis_cache`. Parts of one floor do not know each other.
docs/architecture.md prints this table; a test compares them.
"""

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("intervals", "files", "machine", "registry", "version"),
    ("schedule", "executors", "analysis_cache"),
    ("cost", "setup"),
    ("budget", "models", "command"),
    ("data",),
    ("pruning",),
    ("compensation", "loading"),
    ("export", "workbench"),
    ("studies",),
    ("jobs",),
    ("engine",),
    ("dashboard.engine", "dashboard.wording", "dashboard.limits", "dashboard.owner", "dashboard.navigation"),
    ("dashboard.evidence", "dashboard.server"),
    ("dashboard.session", "dashboard.charts"),
    ("dashboard.components", "dashboard.equaliser", "dashboard.pages", "dashboard.app", "cli", "toast_core"),
)
_ROOMS = {"__main__": "cli"}


def part_of(module: str) -> str:
    """The part that a module belongs to: `toast_core.models.adapters.vit` -> `models`, `dashboard.pages.tune.page` -> `dashboard.pages`."""
    package, *names = module.split(".")
    if package == "toast_core":
        return _ROOMS.get(names[0], names[0]) if names else package
    return package if package == "analysis_cache" else ".".join([package, *names[:1]])


def places_of() -> str:
    """The table as Markdown, for docs/architecture.md."""
    rows = [f"| {number} | {', '.join(f'`{part}`' for part in parts)} |" for number, parts in enumerate(FLOORS, 1)]
    return "\n".join(["| floor | may import its own part and every floor above this line |", "|---|---|", *rows])
