"""A fingerprint of the code that a script executes. Standard library only.

Snakemake does not see what a script imports, and judges the script itself by its time stamp. So every
rule carries this fingerprint among its params: of the script and of each definition of the project
that it reaches, directly or not, from the parsed source. Comments, docstrings, layout, time stamps, the
words of errors and of the log, and definitions that the script never reaches do not count; the versions
of packages that change numbers do.

How reach is found: a top-level definition is reached when its name is mentioned by reached code, in its own
module or through an import. Module-level statements other than definitions, assignments and imports always
count, for every module that is imported, except those of ASIDE. What cannot be seen this way does not occur
in the project: imports by computed name, and data files opened by path.

No library does this: Snakemake looks at a script alone, and what follows imports (modulefinder, grimp) stops
at modules, so that an edit of one function would rerun every script that imports any other of its module.

Parsing all sources takes seconds, and every job of a cluster needs them: what each statement of a file says
and mentions is kept by the file's content (see `kept`).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..files.kept import kept

# Import name -> distribution, of the packages whose version changes numbers.
NUMERIC = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "skimage": "scikit-image",
    "PIL": "pillow",
    "pillow_heif": "pillow-heif",  # optional, as the next
    "imagecodecs": "imagecodecs",
}
PACKAGE = "deep_restoration"
# What surrounds the mathematics of a job does not change results, except for the samples of a shard: an edit
# there reruns nothing. Nor does an edit of words.
ASIDE = re.compile(rf"{PACKAGE}\.(jobs(?!\.shards$)\b.*|files\.kept|\w+\.wording)")
LOGS = {"log", "logging", "warnings"}


@dataclass
class Statement:
    """A top-level statement: its source without comments, docstrings and layout, and what it mentions."""

    text: str
    plain: list[str]  # names on their own
    attributes: dict[str, list[str]]  # name -> what is asked of it, as in name.attribute
    imports: dict[str, tuple[str, str | None]]  # those inside it, as in Module


@dataclass
class Module:
    """A file: its statements, their positions by the name defined, loose ones, what its imports bind."""

    statements: list[Statement] = field(default_factory=list)
    definitions: dict[str, list[int]] = field(default_factory=dict)
    loose: list[int] = field(default_factory=list)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    packages: list[str] = field(default_factory=list)


def fingerprint(script: str | Path, library: str | Path) -> str:
    """Sixteen hexadecimal digits for a script and what it reaches in the folder `library`.

    Raises FileNotFoundError or SyntaxError when a file is missing or cannot be parsed.
    """
    return Library(library).fingerprint(script)


def reached(script: str | Path, library: str | Path) -> tuple[dict[str, str], set[str]]:
    """The reached pieces (`module:name` -> normalised source) and the top-level packages imported."""
    return Library(library).reached(script)


class Library:
    """The project's package in the folder given, its files read once, when they are first reached."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        self._modules: dict[str, Module | None] = {}

    def fingerprint(self, script: str | Path) -> str:
        """See the function of this name. Kept, too: most plans are made of unchanged sources."""
        versions = {name: installed(package) for name, package in NUMERIC.items()}

        def compute() -> str:
            pieces, packages = self.reached(script)
            found = {name: versions[name] for name in sorted(packages & set(NUMERIC))}
            text = json.dumps([sorted(pieces.items()), found])
            return hashlib.sha256(text.encode()).hexdigest()[:16]

        source = hashlib.sha256(Path(script).read_bytes()).hexdigest()
        return kept("fingerprints", [*_reading(), self.digest, source, versions], compute)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all sources below the folder and their names."""
        found = hashlib.sha256()
        for path in sorted(self.folder.rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found.update(f"{path.relative_to(self.folder)} {content}\n".encode())
        return found.hexdigest()

    def reached(self, script: str | Path) -> tuple[dict[str, str], set[str]]:
        """See the function of this name."""
        walk = _Walk(self, _module(Path(script), "", executed=True))
        return walk.pieces, walk.packages

    def module(self, name: str) -> Module | None:
        """The module of the package with this full name, None where there is none."""
        if name not in self._modules:
            path = self.path(name)
            if path is None:
                self._modules[name] = None
            else:
                parent = name if path.name == "__init__.py" else name.rpartition(".")[0]
                self._modules[name] = _module(path, parent)
        return self._modules[name]

    def path(self, name: str) -> Path | None:
        parts = name.split(".")
        if parts[0] != PACKAGE or ASIDE.fullmatch(name):
            return None
        path = self.folder.joinpath(*parts[1:])
        if (path / "__init__.py").is_file():
            return path / "__init__.py"
        path = path.with_suffix(".py")
        return path if len(parts) > 1 and path.is_file() else None


class _Walk:
    """What a script reaches: `pieces` and `packages` as `reached` returns them."""

    def __init__(self, library: Library, script: Module) -> None:
        self.sources = library
        self.pieces: dict[str, str] = {}
        self.packages: set[str] = set(script.packages)
        self.entered: set[str] = set()
        self.script = script
        for target, name in script.imports.values():
            self.packages.add(target.split(".")[0])
            found = self.module(target)
            if found is not None and name and name not in found.definitions:
                self.module(f"{target}.{name}")
        for index, statement in enumerate(script.statements):
            self.add("__main__", str(index), [statement])

    def module(self, name: str) -> Module | None:
        """A module of the library, and once, as importing it does, its packages, loose statements and
        imports."""
        if name == "__main__":
            return self.script
        module = self.sources.module(name)
        if module is not None and name not in self.entered:
            self.entered.add(name)
            self.packages.update(module.packages)
            if name != PACKAGE:
                self.module(name.rpartition(".")[0])
            for position, index in enumerate(module.loose):
                self.add(name, f"statement {position}", [module.statements[index]])
            for target, member in module.imports.values():
                found = self.module(target)
                if found and member and member not in found.definitions:
                    self.module(f"{target}.{member}")
        return module

    def add(self, owner: str, label: str, statements: list[Statement]) -> None:
        key = f"{owner}:{label}"
        if key not in self.pieces:
            self.pieces[key] = "\n".join(statement.text for statement in statements)
            for statement in statements:
                self.follow(owner, statement)

    def entered_module(self, name: str) -> Module:
        """One that was reached before."""
        module = self.module(name)
        assert module is not None
        return module

    def define(self, owner: str, name: str) -> None:
        module = self.entered_module(owner)
        self.add(owner, name, [module.statements[index] for index in module.definitions[name]])

    def follow(self, owner: str, statement: Statement) -> None:
        here = self.entered_module(owner)
        bound = here.imports | statement.imports
        for target, name in statement.imports.values():
            self.reach(target, name, used=False)
        for name in {*statement.plain, *statement.attributes}:
            if name in bound:
                target, member = bound[name]
                self.packages.add(target.split(".")[0])
                submodule = f"{target}.{member}" if member else target
                if (inner := self.module(submodule)) is not None:
                    wanted = set(statement.attributes.get(name, ()))
                    if name in statement.plain:  # the module itself is passed on: all of it counts
                        wanted |= set(inner.definitions)
                    for attribute in wanted:
                        self.reach(submodule, attribute)
                else:
                    self.reach(target, member)
            if name in here.definitions:
                self.define(owner, name)

    def reach(self, target: str, name: str | None, used: bool = True) -> None:
        self.packages.add(target.split(".")[0])
        found = self.module(target)
        if found is None or name is None:
            return
        if name in found.definitions:
            self.define(target, name)
        elif tuple(found.imports.get(name, (target, name))) != (target, name):
            self.reach(*found.imports[name], used)
        elif (inner := self.module(f"{target}.{name}")) and used:  # as in package.module.function
            for definition in inner.definitions:
                self.reach(f"{target}.{name}", definition)


@functools.cache
def installed(package: str) -> str:
    """The version of an installed distribution, or none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@functools.cache
def _reading() -> list[str]:
    """What a module read from its source depends on besides: this file, and how Python unparses."""
    return [hashlib.sha256(Path(__file__).read_bytes()).hexdigest(), sys.version.split()[0]]


def _module(path: Path, package: str, executed: bool = False) -> Module:
    """The module in a file: of a package, or the script that is executed."""
    source = path.read_bytes()
    material = [*_reading(), hashlib.sha256(source).hexdigest(), package, executed]
    found = kept("modules", material, lambda: asdict(_parse(source, path, package, executed)))
    return Module(**found | {"statements": [Statement(**entry) for entry in found["statements"]]})


def _parse(source: bytes, path: Path, package: str, executed: bool) -> Module:
    result = Module()

    def put(statement: ast.stmt) -> int:
        result.statements.append(_statement(statement, package))
        return len(result.statements) - 1

    for statement in ast.parse(source, str(path)).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            _bind(statement, package, result.imports, result.packages)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            result.definitions.setdefault(statement.name, []).append(put(statement))
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = [
                node.id
                for target in targets
                for node in ast.walk(target)
                if isinstance(node, ast.Name)
            ]
            index = put(statement)
            for name in names:
                result.definitions.setdefault(name, []).append(index)
            if not names or not all(isinstance(t, ast.Name | ast.Tuple) for t in targets):
                result.loose.append(index)
        elif not _is_docstring(statement) and (executed or not _is_guard(statement)):
            result.loose.append(put(statement))
            for node in ast.walk(statement):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    _bind(node, package, result.imports, result.packages)
    return result


def _statement(statement: ast.stmt, package: str) -> Statement:
    imports: dict[str, tuple[str, str | None]] = {}
    attributes: dict[str, set[str]] = {}
    names: list[ast.Name] = []
    inner = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Import | ast.ImportFrom):
            _bind(node, package, imports, [])
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            attributes.setdefault(node.value.id, set()).add(node.attr)
            inner.add(id(node.value))
        elif isinstance(node, ast.Name):
            names.append(node)
    plain = sorted({node.id for node in names if id(node) not in inner})
    asked = {name: sorted(attributes[name]) for name in sorted(attributes)}
    return Statement(_text(statement), plain, asked, imports)


def _bind(
    node: ast.Import | ast.ImportFrom,
    package: str,
    imports: dict[str, tuple[str, str | None]],
    packages: list[str],
) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            target = alias.name if alias.asname else alias.name.split(".")[0]
            imports[alias.asname or target] = (target, None)
            packages.append(alias.name.split(".")[0])
        return
    base = node.module or ""
    if node.level:
        parents = package.split(".")
        parents = parents[: len(parents) - node.level + 1]
        base = ".".join([*parents, *([node.module] if node.module else [])])
    for alias in node.names:
        imports[alias.asname or alias.name] = (base, alias.name)
    packages.append(base.split(".")[0])


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_guard(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":` of a library module, which a script that imports it never runs, or
    `if TYPE_CHECKING:`, which nothing runs."""
    if not isinstance(node, ast.If):
        return False
    test = ast.unparse(node.test)
    return "__name__" in test or test == "TYPE_CHECKING"


def _text(statement: ast.stmt) -> str:
    """The statement's source without docstrings, comments, layout, and the words of errors and of the log."""
    words = _words(statement)

    class Strip(ast.NodeTransformer):
        def generic_visit(self, node: Any) -> ast.AST:  # of any class: many have a body
            if node in words:
                return ast.Constant("")
            super().generic_visit(node)
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [s for s in body if not _is_docstring(s)] or [ast.Pass()]
            return node

    return ast.unparse(Strip().visit(statement))


def _words(statement: ast.stmt) -> set[ast.AST]:
    """The string constants that only go into errors, warnings and the log: what is raised, what makes an
    error, arguments of a log's methods, and local variables that are used for nothing else."""
    inside: set[ast.AST] = set()  # all nodes of such places
    for node in ast.walk(statement):
        for place in _told(node):
            inside.update(ast.walk(place))
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef):
            uses = _uses(node)
            for name, value in _assignments(node):
                if name in uses and inside.issuperset(uses[name]):
                    inside.update(ast.walk(value))
    return {n for n in inside if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def _told(node: ast.AST) -> list[ast.expr]:
    """The parts of a node, but not of those within it, that only go into an error or the log."""
    if isinstance(node, ast.Raise):
        return [node.exc] if node.exc is not None else []
    if not isinstance(node, ast.Call):
        return []
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    owner = getattr(getattr(node.func, "value", None), "id", "")
    if name.endswith("Error"):
        return node.args
    if owner in LOGS and not name.startswith("get"):
        # What is called in an argument may do more than write.
        return [a for a in node.args if isinstance(a, ast.Constant | ast.JoinedStr)]
    return []


def _uses(function: ast.FunctionDef) -> dict[str, list[ast.Name]]:
    """Where a function reads each of its local variables."""
    uses: dict[str, list[ast.Name]] = {}
    kept: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            uses.setdefault(node.id, []).append(node)
        elif isinstance(node, ast.Nonlocal | ast.Global):
            kept.update(node.names)
    return {name: places for name, places in uses.items() if name not in kept}


def _assignments(function: ast.FunctionDef) -> list[tuple[str, ast.expr]]:
    """Names that a function assigns to, one at a time, and the values."""
    return [
        (node.targets[0].id, node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
    ]
