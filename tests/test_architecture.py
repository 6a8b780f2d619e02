"""The design as tests: who may import whom, what loads without torch, what every file keeps."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = [name for name in ("toast_core", "analysis_cache", "dashboard") if (ROOT / name).is_dir()]
FILES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
TRAINING = sorted((ROOT / "training").glob("*.py"))

# A part of the engine may import itself and the parts listed, all of which stand above it here; what is not listed has no place yet.
_ENGINE = {
    "errors", "waiting", "intervals", "results", "analysis_results", "composition_results", "agreement_results", "certificate_fields",
    "certificate_results", "registry", "schedule", "recipe", "executors", "models", "data", "pruning", "compensation", "tuning", "analysis",
    "recovery", "export",
}
MAY_IMPORT = {
    "toast_core.errors": set(),
    "toast_core.waiting": set(),
    "toast_core.intervals": set(),
    "toast_core.registry": {"errors"},
    "toast_core.schedule": {"errors"},
    "toast_core.recipe": {"errors", "schedule"},
    "toast_core.results": {"intervals", "errors", "schedule"},
    "toast_core.analysis_results": {"intervals", "errors", "schedule", "results"},
    "toast_core.composition_results": {"intervals"},
    "toast_core.agreement_results": {"results"},
    "toast_core.certificate_fields": {"errors", "schedule"},
    "toast_core.certificate_results": {"errors", "schedule", "results", "agreement_results", "certificate_fields"},
    "toast_core.executors": {"errors"},
    "toast_core.models": {"errors", "registry", "schedule"},
    "toast_core.data": {"errors", "registry", "schedule", "models"},
    "toast_core.pruning": {"errors", "registry", "schedule", "models"},
    "toast_core.compensation": {"errors", "schedule", "models", "pruning"},
    "toast_core.tuning": {"errors", "schedule", "results", "analysis_results", "intervals"},
    "toast_core.analysis": _ENGINE - {"tuning", "analysis", "recovery", "export"},
    "toast_core.recovery": _ENGINE - {"tuning", "recovery", "export"},
    "toast_core.export": _ENGINE - {"tuning", "recovery", "export"},
    "toast_core.certificate": _ENGINE,
    "toast_core.doctor": _ENGINE,
    "toast_core.kept_parts": _ENGINE,
    "toast_core.analyze": _ENGINE | {"kept_parts"},
    "toast_core.latency": _ENGINE,
    "toast_core.tune": _ENGINE | {"analyze"},
    "toast_core.recover": _ENGINE | {"analyze"},
    "toast_core.jobs": _ENGINE | {"analyze", "tune", "recover"},
    "toast_core.worker_desk": _ENGINE | {"jobs"},
    "toast_core.worker": _ENGINE | {"jobs", "worker_desk"},
}
# what they measure goes into the store
KEEPERS = (
    "toast_core.kept_parts", "toast_core.analyze", "toast_core.latency", "toast_core.tune", "toast_core.recover", "toast_core.jobs",
    "toast_core.worker_desk", "toast_core.worker",
)
CACHE_MAY_IMPORT = {
    "toast_core", "toast_core.results", "toast_core.analysis_results", "toast_core.composition_results", "toast_core.agreement_results",
    "toast_core.schedule", "toast_core.errors", "toast_core.intervals",
}
DASHBOARD_MAY_IMPORT = CACHE_MAY_IMPORT | {"toast_core.tuning", "toast_core.recipe"}
FRONT_DOOR = "toast_core"  # names of every layer, each loaded when first used
TORCH_FREE = (
    "toast_core", "toast_core.errors", "toast_core.intervals", "toast_core.results", "toast_core.analysis_results",
    "toast_core.composition_results", "toast_core.agreement_results", "toast_core.certificate_fields", "toast_core.certificate_results",
    "toast_core.schedule", "toast_core.recipe", "toast_core.tuning",
)


def module_of(path: Path) -> str:
    """A file's dotted name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.AST, path: Path, top_level_only: bool = False) -> Iterator[str]:
    """Dotted names that a file imports; `from a import b` gives `a.b` where that is a module, else `a`."""
    pending = list(ast.iter_child_nodes(tree))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; write the whole name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (ROOT / whole.replace(".", "/")).with_suffix(".py").is_file() or (ROOT / whole.replace(".", "/")).is_dir()
                yield whole if is_module else node.module
        if not (top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))


def part_of(module: str) -> str:
    """The layer that a module belongs to: `toast_core.models.adapters.vit` -> `toast_core.models`."""
    return ".".join(module.split(".")[:2])


def is_command_line(module: str) -> bool:
    """Whether a module is the composition root: cli.py, its cli_* helpers and `python -m toast_core`, which may see all."""
    return module == "toast_core.__main__" or part_of(module) == "toast_core.cli" or module.startswith("toast_core.cli_")


def ids(paths: list[Path]) -> list[str]:
    """Short test ids."""
    return [path.relative_to(ROOT).as_posix() for path in paths]


every_file = pytest.mark.parametrize("path", FILES, ids=ids(FILES))


class TestDirections:
    """Imports point one way."""

    @every_file
    def test_a_file_imports_only_what_lies_below_it(self, path: Path) -> None:
        module = module_of(path)
        if module == FRONT_DOOR or is_command_line(module):
            return
        for target in imports(tree_of(path), path):
            root = target.partition(".")[0]
            if root not in ("toast_core", "analysis_cache", "dashboard", "training", "tests"):
                continue
            if module.startswith("dashboard"):
                allowed = root in ("dashboard", "analysis_cache") or part_of(target) in DASHBOARD_MAY_IMPORT
            elif module.startswith("analysis_cache"):
                allowed = root == "analysis_cache" or part_of(target) in CACHE_MAY_IMPORT
            else:
                own = part_of(module)
                assert own in MAY_IMPORT, f"{module} has no place in MAY_IMPORT; give it one"
                below = {f"toast_core.{name}" for name in MAY_IMPORT[own]} | {own}
                allowed = part_of(target) in below or (root == "analysis_cache" and own in KEEPERS)
            assert allowed, f"{module} must not import {target}"

    def test_the_table_points_one_way_and_lacks_nothing(self) -> None:
        seen: set[str] = set()
        for part, below in MAY_IMPORT.items():
            assert below <= seen, f"{part} may import {below - seen}, which stand below it in the table"
            seen.add(part.removeprefix("toast_core."))
        parts = {part_of(module_of(path)) for path in FILES if path.is_relative_to(ROOT / "toast_core")}
        assert {part for part in parts if not is_command_line(part)} <= {*MAY_IMPORT, FRONT_DOOR}

    @pytest.mark.parametrize("path", [path for path in FILES if "dashboard" not in path.parts], ids=str)
    def test_only_the_cli_names_the_dashboard(self, path: Path) -> None:
        if is_command_line(module_of(path)):
            return
        assert not [target for target in imports(tree_of(path), path) if target.partition(".")[0] == "dashboard"]

    def test_no_two_files_import_each_other(self) -> None:
        graph = {
            module_of(path): {t for t in imports(tree_of(path), path, top_level_only=True) if t.partition(".")[0] in PACKAGES}
            for path in FILES
        }
        done: set[str] = set()

        def walk(module: str, trail: tuple[str, ...]) -> None:
            assert module not in trail, f"import cycle: {' -> '.join((*trail[trail.index(module):], module))}"
            if module not in done:
                for target in graph.get(module, ()):
                    if target != module:
                        walk(target, (*trail, module))
                done.add(module)

        for module in graph:
            walk(module, ())

    def test_the_walker_sees_a_cycle_and_a_hidden_import(self) -> None:
        tree = ast.parse("import a\ndef f():\n    import b\nclass C:\n    from c import d\nif True:\n    import e")
        assert set(imports(tree, Path("x.py"))) == {"a", "b", "c", "e"}
        assert set(imports(tree, Path("x.py"), top_level_only=True)) == {"a", "c", "e"}


class TestPlaces:
    """Each library and each trick has its place."""

    @pytest.mark.parametrize("path", FILES + TRAINING, ids=ids(FILES + TRAINING))
    def test_timm_is_named_by_models_transforms_and_training_only(self, path: Path) -> None:
        place = path.relative_to(ROOT).as_posix()
        if place.startswith(("toast_core/models/", "training/", "toast_core/data/transform.py", "toast_core/recovery/parts.py")):
            return
        assert "timm" not in {target.partition(".")[0] for target in imports(tree_of(path), path)}

    @every_file
    def test_ray_is_named_where_its_workers_are(self, path: Path) -> None:
        if module_of(path) not in ("toast_core.executors.ray_workers", "toast_core.executors.connecting"):
            assert "ray" not in {target.partition(".")[0] for target in imports(tree_of(path), path)}

    @pytest.mark.parametrize("path", sorted((ROOT / "toast_core/pruning/importance").glob("*.py")), ids=lambda path: path.name)
    def test_importance_is_pure_tensor_maths(self, path: Path) -> None:
        found = set(imports(tree_of(path), path))
        assert not {name for name in found if name.startswith(("timm", "torch.nn", "toast_core.models", "toast_core.pruning.execution"))}
        assert not [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute) and node.attr == "nn"]
        names = {
            alias.name
            for node in ast.walk(tree_of(path)) if isinstance(node, ast.ImportFrom) and node.module == "torch" for alias in node.names
        }
        assert "nn" not in names

    @pytest.mark.parametrize("path", FILES + TRAINING, ids=ids(FILES + TRAINING))
    def test_nothing_is_unpickled(self, path: Path) -> None:
        tree = tree_of(path)
        roots = {target.partition(".")[0] for target in imports(tree, path)}
        assert not roots & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {
                    ("torch", "load"), ("pickle", "load"), ("pickle", "loads"), ("np", "load"), ("numpy", "load")
                }
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec")

    @every_file
    def test_no_randomness_is_ambient(self, path: Path) -> None:
        """No seed is set for others, and no generator without a seed is made; building a model draws inside a fork."""
        source = path.read_text(encoding="utf-8")
        assert "np.random.seed" not in source
        assert "default_rng()" not in source
        if module_of(path) != "toast_core.models.load":
            assert "torch.manual_seed(" not in source


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


def behind_firewall(
    modules: list[str], more: str = "", blocked: tuple[str, ...] = ("torch", "timm", "torchvision", "safetensors")
) -> subprocess.CompletedProcess:
    """Import modules in a process where importing torch fails."""
    code = FIREWALL.format(blocked=blocked, modules=modules, more=more)
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


class TestTorchFree:
    """Pages import these; they must start where torch is slow or missing."""

    def test_they_load_behind_a_firewall(self) -> None:
        modules = [module_of(path) for path in FILES if part_of(module_of(path)) in TORCH_FREE or module_of(path) in TORCH_FREE]
        assert {
            "toast_core", "toast_core.errors", "toast_core.results", "toast_core.intervals", "toast_core.schedule.cost",
            "toast_core.schedule.reference",
        } <= set(modules)
        more = (
            "from toast_core.schedule.presets import presets; assert len(presets()) == 20\n"
            "from toast_core import Schedule; Schedule.from_json(Schedule.uniform(2).to_json())"
        )
        result = behind_firewall(modules, more)
        assert result.returncode == 0, result.stderr

    def test_the_firewall_can_fail(self) -> None:
        result = behind_firewall(["toast_core.pruning.planner"])
        assert result.returncode != 0
        assert "the firewall blocks torch" in result.stderr

    def test_the_front_door_loads_torch_only_when_asked(self) -> None:
        result = behind_firewall(["toast_core"], "import toast_core; toast_core.load_model")
        assert result.returncode != 0
        assert "the firewall blocks" in result.stderr

    @pytest.mark.parametrize("path", [path for path in FILES if part_of(module_of(path)) in TORCH_FREE[1:]], ids=str)
    def test_not_even_inside_a_function(self, path: Path) -> None:
        assert not {target.partition(".")[0] for target in imports(tree_of(path), path)} & {"torch", "timm", "safetensors", "torchvision"}


@pytest.mark.slow
def test_the_local_path_runs_without_ray() -> None:
    """Ray is an extra: everything else loads behind a firewall, and the local executor runs."""
    modules = [module_of(path) for path in FILES if path.is_relative_to(ROOT / "toast_core") and module_of(path) not in (
        "toast_core.executors.ray_workers", "toast_core.__main__",
    )]
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

    @every_file
    def test_no_file_is_over_400_lines(self, path: Path) -> None:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400

    def test_no_script_or_style_sheet_is_over_400_lines(self) -> None:
        sheets = [path for path in committed_files() if path.suffix in (".js", ".css") and path.relative_to(ROOT).parts[0] in PACKAGES]
        assert {".js", ".css"} == {path.suffix for path in sheets}
        assert not [path.relative_to(ROOT).as_posix() for path in sheets if len(path.read_text(encoding="utf-8").splitlines()) > 400]

    def test_the_method_fits_in_700_lines(self) -> None:
        """Lines that are not empty, of the files that say what ToaSt is."""
        files = [ROOT / "toast_core" / name for name in self.CORE]
        assert {
            path.name for path in (ROOT / "toast_core/pruning/importance").glob("*.py")
        } == {path.name for path in files if path.parent.name == "importance"}
        assert sum(bool(line.strip()) for path in files for line in path.read_text(encoding="utf-8").splitlines()) < 700


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

    @pytest.mark.parametrize("path", [path for path in FILES if path.is_relative_to(ROOT / "toast_core")], ids=str)
    def test_everything_public_has_a_docstring_and_annotations(self, path: Path) -> None:
        if path.read_text(encoding="utf-8").strip():
            assert ast.get_docstring(tree_of(path)), f"{path} has no module docstring"
        for name, node in public_definitions(path):
            is_stub = len(getattr(node, "body", [])) == 1 and isinstance(node.body[0], ast.Expr) and getattr(
                node.body[0].value, "value", 0
            ) is ...
            assert ast.get_docstring(node) or is_stub, f"{path.name}: {name} has no docstring"
            if isinstance(node, ast.FunctionDef):
                assert node.returns is not None, f"{path.name}: {name} has no return annotation"
                bare = [
                    arg.arg for arg in node.args.args + node.args.kwonlyargs if arg.annotation is None and arg.arg not in ("self", "cls")
                ]
                assert not bare, f"{path.name}: {name} does not annotate {bare}"

    def test_no_committed_text_names_a_place_on_this_machine(self) -> None:
        places = ["/work" + "/main", "/work" + "/shared", "/root" + "/"]
        for path in committed_files():
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # not text
            assert not [place for place in places if place in text], f"{path.relative_to(ROOT)} names a place on one machine"

    def test_there_are_committed_files_to_look_at(self) -> None:
        assert {
            "pyproject.toml", "toast_core/errors.py", "tests/test_architecture.py"
        } <= {path.relative_to(ROOT).as_posix() for path in committed_files()}


@cache
def committed_files() -> tuple[Path, ...]:
    """Files that git has or would take; without git, everything outside hidden folders."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True
    )
    names = listed.stdout.split("\0") if listed.returncode == 0 else [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*")]
    paths = (ROOT / name for name in names if name and not name.startswith(".venv") and "__pycache__" not in name)
    return tuple(path for path in paths if path.is_file())
