"""The design as tests: who may import whom, what loads without torch, what every file keeps.

A rule looks at all files and names every offender at once.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.directions import DIRECTIONS, as_markdown, floors, part_of

ROOT = Path(__file__).parents[1]
PACKAGES = ("toast_core", "analysis_cache", "dashboard")
FILES = tuple(sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")))
TRAINING = tuple(sorted((ROOT / "training").glob("*.py")))
# Torch-free by place: these parts, and in every study the files of these names.
TORCH_FREE_PARTS = {
    "errors", "intervals", "files", "machine", "registry", "version", "schedule", "executors", "cost", "budget", "setup", "command",
    "analysis_cache",
}
TORCH_FREE_NAMES = {
    "result", "verdict", "cells", "parts", "recipe", "request", "fields", "check", "regression", "calibration", "prediction",
}
TASKS = {f"toast_core.studies.tasks.{name}" for name in ("base", "registry", "classification", "features", "neighbours")}
TORCH_FREE_FILES = TASKS | {
    "toast_core", "toast_core.engine.protocol", "toast_core.engine.values", "toast_core.studies", "toast_core.jobs.book",
}
TORCH = ("torch", "timm", "torchvision", "safetensors")
LONGEST_FILE, MOST_PARAMETERS, METHOD_LINES = 400, 8, 700


def module_of(path: Path) -> str:
    """A file's dotted name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


@cache
def text_of(path: Path) -> str:
    """A file's text."""
    return path.read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(text_of(path), str(path))


def imports(tree: ast.AST, top_level_only: bool = False) -> Iterator[str]:
    """Dotted names that a file imports; `from a import b` gives `a.b` where that is a module, else `a`."""
    pending = list(ast.iter_child_nodes(tree))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield "." * node.level + (node.module or "")
                continue
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (ROOT / whole.replace(".", "/")).with_suffix(".py").is_file() or (ROOT / whole.replace(".", "/")).is_dir()
                yield whole if is_module else node.module
        if not (top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))


def own_imports(path: Path, top_level_only: bool = False) -> set[str]:
    """What a file imports of this project."""
    ours = (*PACKAGES, "training", "tests", "benchmarks")
    return {name for name in imports(tree_of(path), top_level_only) if name.partition(".")[0] in ours}


def is_torch_free(module: str) -> bool:
    """Whether a module must load, and work, where torch is missing."""
    part = part_of(module)
    if part in TORCH_FREE_PARTS or module in TORCH_FREE_FILES or part.startswith("dashboard"):
        return True
    return module.startswith("toast_core.studies.") and module.rpartition(".")[2] in TORCH_FREE_NAMES


class TestDirections:
    """Imports point one way; tests/support/directions.py has the table."""

    def test_a_file_imports_only_what_lies_below_it(self) -> None:
        below: dict[str, set[str]] = {}
        seen: set[str] = set()
        for parts in floors():
            for part in parts:
                below[part] = set(seen)
            seen |= set(parts)
        wrong = []
        for module, path in MODULES.items():
            own = part_of(module)
            assert own in below, f"{module} has no place in the table of directions; give it one"
            for target in own_imports(path):
                allowed = target in MODULES and (part_of(target) == own or part_of(target) in below[own])
                if not allowed:
                    wrong.append(f"{module} must not import {target}")
        assert not wrong, "\n".join(sorted(wrong))

    def test_the_table_is_small_and_names_what_there_is(self) -> None:
        listed = [part for parts in floors() for part in parts]
        assert len(DIRECTIONS) <= 16 and len(set(listed)) == len(listed)
        assert set(listed) == {part_of(module) for module in MODULES}

    def test_pages_import_nothing_that_needs_torch(self) -> None:
        wrong = {
            f"{module} must not import {target}" for module, path in MODULES.items() if module.startswith("dashboard")
            for target in own_imports(path) if not is_torch_free(target)
        }
        assert not wrong, "\n".join(sorted(wrong))

    def test_no_page_imports_another(self) -> None:
        def page(module: str) -> str:
            return module.removeprefix("dashboard.pages.").partition(".")[0]

        wrong = [
            (module, target) for module, path in MODULES.items() if module.startswith("dashboard.pages.")
            for target in own_imports(path) if target.startswith("dashboard.pages.") and page(target) != page(module)
        ]
        assert not wrong

    def test_no_two_parts_and_no_two_files_import_each_other_in_a_circle(self) -> None:
        files = {module: own_imports(path, top_level_only=True) - {module} for module, path in MODULES.items()}
        parts: dict[str, set[str]] = {}
        for module, path in MODULES.items():
            parts.setdefault(part_of(module), set()).update({part_of(target) for target in own_imports(path)} - {part_of(module)})
        assert not circle(files) and not circle(parts)

    def test_the_walker_sees_a_circle_and_a_hidden_import(self) -> None:
        tree = ast.parse("import a\ndef f():\n    import b\nclass C:\n    from c import d\nif True:\n    import e\nfrom . import g")
        assert set(imports(tree)) == {"a", "b", "c", "e", "."}
        assert set(imports(tree, top_level_only=True)) == {"a", "c", "e", "."}
        assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"] and circle({"a": {"b", "c"}, "b": {"c"}}) == []

    def test_the_document_prints_the_table(self) -> None:
        text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
        start, end = "<!-- directions:start -->", "<!-- directions:end -->"
        assert text.partition(start)[2].partition(end)[0].strip() == as_markdown()


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A way through the graph that comes back to where it began; empty where there is none."""
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph.get(name, ())):
            if found := walk(target, [*trail, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


class TestPlaces:
    """Each library and each trick has its place."""

    def test_no_loose_module_holds_what_has_a_room(self) -> None:
        """What lies at a package's root is one idea, small, and belongs to no room."""
        roots = {
            "toast_core": {
                "__init__", "__main__", "errors", "intervals", "files", "machine", "registry", "version", "preprocessing", "setup",
                "command", "loading", "workbench", "studio",
            },
            "dashboard": {"__init__", "app", "navigation", "wording", "limits", "owner", "uploads"},
        }
        for package, allowed in roots.items():
            assert {path.stem for path in (ROOT / package).glob("*.py")} <= allowed

    def test_timm_is_named_by_models_transforms_and_training_only(self) -> None:
        homes = ("toast_core/models/", "training/", "toast_core/data/transform.py", "toast_core/studies/recovery/timm_parts.py")
        assert not [path for path in FILES + TRAINING if "timm" in roots_of(path) and not place_of(path).startswith(homes)]

    def test_ray_is_named_where_its_workers_are(self) -> None:
        homes = {"toast_core.executors.ray_workers", "toast_core.executors.connecting"}
        assert {module for module, path in MODULES.items() if "ray" in roots_of(path)} <= homes

    def test_importance_is_pure_tensor_maths(self) -> None:
        for path in (ROOT / "toast_core/pruning/importance").glob("*.py"):
            found = set(imports(tree_of(path)))
            models = ("timm", "torch.nn", "toast_core.models", "toast_core.pruning.execution")
            assert not {name for name in found if name.startswith(models)}
            assert not [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute) and node.attr == "nn"]
            of_torch = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ImportFrom) and node.module == "torch"]
            assert "nn" not in {alias.name for node in of_torch for alias in node.names}

    def test_nothing_is_unpickled(self) -> None:
        loaders = {("torch", "load"), ("pickle", "load"), ("pickle", "loads"), ("np", "load"), ("numpy", "load")}
        for path in FILES + TRAINING:
            safe: set[int] = set()
            if place_of(path) == "toast_core/models/checkpoint/tensors.py":  # the one place for it, and of weights alone
                calls = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"]
                safe = {id(call.func) for call in calls if "weights_only=True" in map(ast.unparse, call.keywords)}
            assert not roots_of(path) & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}, path
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and id(node) not in safe:
                    assert (node.value.id, node.attr) not in loaders, path
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id not in ("eval", "exec"), path

    def test_no_randomness_is_ambient(self) -> None:
        """No seed is set for others, and no generator without a seed is made; building a model draws inside a fork."""
        for module, path in MODULES.items():
            assert "np.random.seed" not in text_of(path) and "default_rng()" not in text_of(path), path
            assert module == "toast_core.models.build" or "torch.manual_seed(" not in text_of(path), path


def roots_of(path: Path) -> set[str]:
    """The first words of what a file imports."""
    return {name.partition(".")[0] for name in imports(tree_of(path))}


def place_of(path: Path) -> str:
    """A file's path in the project."""
    return path.relative_to(ROOT).as_posix()


FIREWALL = """
import importlib, sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"the firewall blocks {{name}}")
sys.meta_path.insert(0, Wall())
for name in {modules!r}:
    importlib.import_module(name)
assert not {{name.partition(".")[0] for name in sys.modules}} & set({blocked!r})
{more}
"""


def behind_firewall(modules: list[str], more: str = "", blocked: tuple[str, ...] = TORCH) -> subprocess.CompletedProcess:
    """Import modules in a process where importing torch fails."""
    code = FIREWALL.format(blocked=blocked, modules=modules, more=more)
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


class TestTorchFree:
    """Pages import these; they must start where torch is slow or missing."""

    def test_they_load_behind_a_firewall(self) -> None:
        modules = [module for module in MODULES if is_torch_free(module) and not module.endswith((".entry.session", ".ray_workers"))]
        assert {"toast_core", "toast_core.cost.macs", "toast_core.studies.sensitivity.cells", "dashboard.pages.overview"} <= set(modules)
        more = (
            "from toast_core.schedule.presets import presets; assert len(presets()) == 20\n"
            "from toast_core import Schedule; Schedule.from_json(Schedule.uniform(2).to_json())"
        )
        result = behind_firewall(modules, more)
        assert result.returncode == 0, result.stderr

    def test_the_firewall_can_fail(self) -> None:
        result = behind_firewall(["toast_core.pruning.planner"])
        assert result.returncode != 0 and "the firewall blocks torch" in result.stderr

    def test_the_front_door_loads_torch_only_when_asked(self) -> None:
        result = behind_firewall(["toast_core"], "import toast_core; toast_core.load_model")
        assert result.returncode != 0 and "the firewall blocks" in result.stderr

    def test_not_even_inside_a_function(self) -> None:
        """machine.py answers questions about torch's devices, so it imports torch when it is asked one; tasks name tensors as types."""
        exempt = {"toast_core.machine", *TASKS}
        wrong = [
            module for module, path in MODULES.items()
            if is_torch_free(module) and module not in exempt and part_of(module) != "executors" and roots_of(path) & set(TORCH)
        ]
        assert not wrong


@pytest.mark.wide
def test_the_local_path_runs_without_ray() -> None:
    """Ray is an extra: everything else loads behind a firewall, and the local executor runs."""
    modules = [
        module for module in MODULES
        if module.startswith("toast_core") and module not in ("toast_core.executors.ray_workers", "toast_core.__main__")
    ]
    more = (
        "from toast_core.executors import open_executor\n"
        "with open_executor('local', 'cpu') as executor: assert list(executor.map(abs, [-1])) == [(-1, 1)]"
    )
    result = behind_firewall(modules, more, blocked=("ray",))
    assert result.returncode == 0, result.stderr


class TestSizes:
    """Small enough to read."""

    CORE = (
        "schedule/schedule.py", "pruning/importance/__init__.py", "pruning/importance/activations.py", "pruning/importance/pairs.py",
        "pruning/importance/geometric_median.py", "pruning/importance/weiszfeld.py", "pruning/importance/l1.py", "pruning/importance/l2.py",
        "pruning/planner.py",
        "pruning/execution/block.py", "pruning/execution/ops.py", "pruning/execution/attention.py", "pruning/execution/linear.py",
    )

    def test_no_file_is_over_400_lines_in_any_language(self) -> None:
        code = (".py", ".js", ".css", ".html", ".sh", "")
        sheets = [path for path in committed_files() if path.suffix in code and path.name not in ("LICENSE", ".gitignore")]
        assert {".py", ".js", ".css"} <= {path.suffix for path in sheets}
        assert not {place_of(path) for path in sheets if len(text_of(path).splitlines()) > LONGEST_FILE}

    def test_no_function_takes_more_than_8_parameters(self) -> None:
        """A command of the command line lists its options; everything else takes values that belong together as one."""
        def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
            listed = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            return sum(one.arg not in ("self", "cls") for one in listed)

        long = [
            f"{module}.{node.name} takes {parameters(node)}" for module, path in MODULES.items() if part_of(module) != "cli"
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and parameters(node) > MOST_PARAMETERS
        ]
        assert not long, "\n".join(sorted(long))

    def test_the_method_fits_in_700_lines(self) -> None:
        """Lines that are not empty, of the files that say what ToaSt is."""
        files = [ROOT / "toast_core" / name for name in self.CORE]
        scores = {path.name for path in (ROOT / "toast_core/pruning/importance").glob("*.py")}
        assert scores == {path.name for path in files if path.parent.name == "importance"}
        assert sum(bool(line.strip()) for path in files for line in text_of(path).splitlines()) < METHOD_LINES


def public_definitions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Public functions and classes of a module, and public methods of public classes."""
    for node in tree_of(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from (
                    (f"{node.name}.{item.name}", item)
                    for item in node.body if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")
                )


class TestStyle:
    """What every file keeps."""

    def test_everything_public_has_a_docstring_and_annotations(self) -> None:
        wrong = []
        for module, path in MODULES.items():
            if not module.startswith("toast_core"):
                continue
            if text_of(path).strip() and not ast.get_docstring(tree_of(path)):
                wrong.append(f"{module} has no docstring")
            for name, node in public_definitions(path):
                is_stub = len(getattr(node, "body", [])) == 1 and isinstance(node.body[0], ast.Expr) and getattr(
                    node.body[0].value, "value", 0
                ) is ...
                if not (ast.get_docstring(node) or is_stub):
                    wrong.append(f"{module}.{name} has no docstring")
                if isinstance(node, ast.FunctionDef):
                    arguments = [one for one in node.args.args + node.args.kwonlyargs if one.arg not in ("self", "cls")]
                    if node.returns is None or any(one.annotation is None for one in arguments):
                        wrong.append(f"{module}.{name} is not annotated")
        assert not wrong, "\n".join(wrong)

    def test_no_committed_text_names_a_place_on_this_machine(self) -> None:
        places = ["/work" + "/main", "/work" + "/shared", "/root" + "/", "/tmp" + "/wt"]
        for path in committed_files():
            try:
                text = text_of(path)
            except UnicodeDecodeError:
                continue  # not text
            assert not [place for place in places if place in text], f"{place_of(path)} names a place on one machine"

    def test_there_are_committed_files_to_look_at(self) -> None:
        assert {"pyproject.toml", "toast_core/errors.py", "tests/test_architecture.py"} <= {place_of(path) for path in committed_files()}


@cache
def committed_files() -> tuple[Path, ...]:
    """Files that git has or would take; without git, everything outside hidden folders."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True
    )
    names = listed.stdout.split("\0") if listed.returncode == 0 else [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*")]
    paths = (ROOT / name for name in names if name and not name.startswith(".venv") and "__pycache__" not in name)
    return tuple(path for path in paths if path.is_file())
