"""Packages import downwards only; Snakemake is known to `jobs` alone; the study's settings need no torch."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "workflow" / "deep_restoration"
SCRIPTS, LINES = ROOT / "workflow" / "scripts", 30  # at most
# From top to bottom: a package imports itself and those that stand to the right of it.
ORDER = (
    *("jobs", "interface", "report", "figures", "sampling", "inversion", "inverters", "priors"),
    *("linear", "evaluation", "statistics", "networks", "data", "study", "runtime", "files"),
)
MODULES = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in LIBRARY.rglob("*.py")
    if path.parent != LIBRARY  # the public names, and the command
}


def imports(name: str, at_import: bool = False) -> set[str]:
    """The modules of the library that a module imports, by their names below it; with `at_import`, those
    that importing it imports."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if at_import and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(child, ast.ImportFrom) and child.level:
                base = [*package[: len(package) - child.level + 1], *filter(None, [child.module])]
                for alias in child.names:
                    inner = ".".join([*base, alias.name])
                    found.add(inner if inner in MODULES else ".".join(base))
            visit(child)

    visit(ast.parse(path.read_text()))
    return found - {name}


def test_every_package_has_its_place():
    packages = {name.partition(".")[0] for name in MODULES}
    assert packages <= set(ORDER)
    assert not [name for name in MODULES if "." not in name and name not in packages]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_downwards(name):
    place = ORDER.index(name.partition(".")[0])
    for other in imports(name):
        assert ORDER.index(other.partition(".")[0]) >= place, f"{name} imports {other}"


def test_no_module_imports_itself_by_way_of_others():
    graph = {name: imports(name, at_import=True) for name in MODULES}
    for start in graph:
        # A package's __init__ and its modules, which import it before themselves, may name each other.
        seen, waiting = set(), [n for n in graph[start] if not start.startswith(f"{n}.")]
        while waiting:
            here = waiting.pop()
            assert here != start, f"{start} imports itself"
            if here not in seen:
                seen.add(here)
                waiting += graph[here]


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_scripts_compose_the_library(script):
    """What computes lies in the library, where unit tests reach it."""
    assert len((SCRIPTS / script).read_text().splitlines()) <= LINES


def test_only_jobs_know_snakemake():
    for name, path in MODULES.items():
        if not name.startswith("jobs"):
            source = path.read_text()
            assert "import snakemake" not in source, name
            assert "jobs" not in {other.partition(".")[0] for other in imports(name)}


def test_planning_imports_no_library_that_takes_a_while():
    paths = (ROOT / "workflow/rules").rglob("*.smk")
    rules = "".join(
        path.read_text() for path in paths if path.name != "shards.smk"
    )  # if there are any
    lines = re.findall(r"^from deep_restoration\S* import .*$", rules, re.M)
    assert len(lines) > 5
    slow = "{'numpy', 'torch', 'pydantic', 'jsonschema', 'h5py', 'pandas'}"
    code = "\n".join(["import sys", *lines, f"sys.exit(str({slow} & set(sys.modules) or ''))"])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=LIBRARY.parent, capture_output=True, text=True
    )
    assert done.stderr.strip() == ""


def test_the_package_alone_imports_nothing_and_names_what_is_public():
    code = (
        "import sys, typing; before = set(sys.modules); import deep_restoration as d; "
        "assert set(sys.modules) - before == {'deep_restoration'}; "
        "d.recipes; assert 'torch' not in sys.modules; "
        "assert all(callable(getattr(d, name)) for name in d.__all__); "
        "assert set(d.__all__) <= set(dir(d)); assert not hasattr(d, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=LIBRARY.parent, check=True)


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_no_stage_depends_on_what_users_call(script):
    from deep_restoration.jobs.fingerprint import reached

    pieces, _ = reached(SCRIPTS / script, LIBRARY)
    assert not [piece for piece in pieces if piece.startswith("deep_restoration.interface")]


@pytest.mark.parametrize("package", ["study", "files"])
def test_settings_and_files_are_read_without_torch(package):
    names = [f"deep_restoration.{name}" for name in MODULES if name.startswith(package)]
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=LIBRARY.parent).returncode == 0
