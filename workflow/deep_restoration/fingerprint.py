"""A fingerprint of the code that a script executes. Standard library only.

Snakemake does not see what a script imports, and judges the script itself by its time stamp. So every
rule carries this fingerprint among its params: of the script and of each definition of the project
that it reaches, directly or not, from the parsed source. Comments, docstrings, layout, time stamps and
definitions that the script never reaches do not count; the versions of packages that change numbers do.

How reach is found: a top-level definition is reached when its name is mentioned by reached code, in its
own module or through an import. Module-level statements other than definitions, assignments and imports
always count, for every module that is imported, but MOVERS. What cannot be seen this way does not occur
in the project: imports by computed name, and data files opened by path.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Import name -> distribution, of the packages whose version changes numbers.
NUMERIC = {
    "torch": "torch",
    "torchvision": "torchvision",
    "skimage": "scikit-image",
    "PIL": "pillow",
}
PACKAGE = "deep_restoration"
# Modules that move results and decide nothing in them: an edit of theirs reruns nothing.
MOVERS = {f"{PACKAGE}.store"}


@dataclass
class Module:
    """A parsed file: its definitions by name, what its imports bind, and its loose statements."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    loose: list[ast.stmt] = field(default_factory=list)
    packages: set[str] = field(default_factory=set)


def fingerprint(script: str | Path, library: str | Path) -> str:
    """Sixteen hexadecimal digits for a script and what it reaches in the folder `library`.

    Raises FileNotFoundError or SyntaxError when a file is missing or cannot be parsed.
    """
    script, library = str(Path(script).resolve()), str(Path(library).resolve())
    return _fingerprint(script, library, _stamp(Path(script)), _stamp(Path(library)))


def _stamp(path: Path) -> tuple:
    """Changes when a file below changes, so that a running process never serves a stale result."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)


@functools.cache
def _fingerprint(script: str, library: str, *stamps: tuple) -> str:
    pieces, packages = reached(Path(script), Path(library))
    found = {}
    for package in sorted(packages & set(NUMERIC)):
        try:
            found[package] = version(NUMERIC[package])
        except PackageNotFoundError:
            found[package] = "none"
    text = json.dumps([sorted(pieces.items()), found])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def reached(script: Path, library: Path) -> tuple[dict[str, str], set[str]]:
    """The reached pieces (`module:name` -> normalised source) and the top-level packages imported."""
    modules: dict[str, Module] = {}
    pieces: dict[str, str] = {}
    packages: set[str] = set()

    def module(name: str) -> Module | None:
        if name not in modules:
            path = _module_path(name, library)
            if path is None:
                return None
            parent = name if path.name == "__init__.py" else name.rpartition(".")[0]
            modules[name] = _parse(path, parent)
            if name != PACKAGE:
                module(name.rpartition(".")[0])  # importing a module executes its packages
            enter(name)
            for target, member in modules[name].imports.values():
                if (found := module(target)) and member and member not in found.definitions:
                    module(f"{target}.{member}")
        return modules[name]

    def enter(name: str) -> None:
        """Count what importing a module executes: its loose statements."""
        for index, statement in enumerate(modules[name].loose):
            add(name, f"statement {index}", [statement])

    def add(owner: str, label: str, statements: list[ast.stmt]) -> None:
        key = f"{owner}:{label}"
        if key in pieces:
            return
        pieces[key] = "\n".join(_text(statement) for statement in statements)
        for statement in statements:
            follow(owner, statement)

    def follow(owner: str, statement: ast.stmt) -> None:
        here = modules[owner]
        local = Module()
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                _bind(node, owner_package(owner), local)
        bound = {**here.imports, **local.imports}
        for target, name in local.imports.values():
            reach(target, name, used=False)
        attributes: dict[str, set[str]] = {}
        plain: set[str] = set()
        inner = set()
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                attributes.setdefault(node.value.id, set()).add(node.attr)
                inner.add(id(node.value))
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and id(node) not in inner:
                plain.add(node.id)
        for name in plain | set(attributes):
            if name in bound:
                target, member = bound[name]
                packages.add(target.split(".")[0])
                submodule = f"{target}.{member}" if member else target
                if _module_path(submodule, library) is not None:
                    module(submodule)
                    wanted = attributes.get(name, set())
                    if name in plain:  # the module itself is handed on: everything in it counts
                        wanted = wanted | set(modules[submodule].definitions)
                    for attribute in wanted:
                        reach(submodule, attribute)
                else:
                    reach(target, member)
            if name in here.definitions:
                add(owner, name, here.definitions[name])

    def owner_package(owner: str) -> str:
        path = _module_path(owner, library)
        if path is None or path.name == "__init__.py":
            return owner
        return owner.rpartition(".")[0]

    def reach(target: str, name: str | None, used: bool = True) -> None:
        packages.add(target.split(".")[0])
        found = module(target)
        if found is None or name is None:
            return
        if name in found.definitions:
            add(target, name, found.definitions[name])
        elif found.imports.get(name, (target, name)) != (target, name):
            reach(*found.imports[name], used)
        elif (inner := module(f"{target}.{name}")) and used:  # as in package.module.function
            for definition in inner.definitions:
                reach(f"{target}.{name}", definition)

    main = _parse(script, "", executed=True)
    modules["__main__"] = main
    everything = [s for group in main.definitions.values() for s in group] + main.loose
    for target, name in main.imports.values():
        packages.add(target.split(".")[0])
        if module(target) is not None and name and name not in modules[target].definitions:
            module(f"{target}.{name}")
    for index, statement in enumerate(everything):
        add("__main__", str(index), [statement])
    for found in modules.values():
        packages |= found.packages
    return pieces, packages


def _module_path(name: str, library: Path) -> Path | None:
    parts = name.split(".")
    if parts[0] != PACKAGE or name in MOVERS:
        return None
    path = library.joinpath(*parts[1:])
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    return path.with_suffix(".py") if len(parts) > 1 and path.with_suffix(".py").is_file() else None


def _parse(path: Path, package: str, executed: bool = False) -> Module:
    stat = path.stat()
    return _parse_once(path, package, executed, (stat.st_mtime_ns, stat.st_size))


@functools.cache
def _parse_once(path: Path, package: str, executed: bool, stamp: tuple) -> Module:
    result = Module()
    for statement in ast.parse(path.read_text(encoding="utf-8"), str(path)).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            _bind(statement, package, result)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            result.definitions.setdefault(statement.name, []).append(statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = [
                node.id
                for target in targets
                for node in ast.walk(target)
                if isinstance(node, ast.Name)
            ]
            for name in names:
                result.definitions.setdefault(name, []).append(statement)
            if not names or not all(isinstance(t, ast.Name | ast.Tuple) for t in targets):
                result.loose.append(statement)
        elif not _is_docstring(statement) and (executed or not _is_guard(statement)):
            result.loose.append(statement)
            for node in ast.walk(statement):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    _bind(node, package, result)
    return result


def _bind(node: ast.Import | ast.ImportFrom, package: str, result: Module) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            target = alias.name if alias.asname else alias.name.split(".")[0]
            result.imports[alias.asname or target] = (target, None)
            result.packages.add(alias.name.split(".")[0])
        return
    base = node.module or ""
    if node.level:
        parents = package.split(".")
        parents = parents[: len(parents) - node.level + 1]
        base = ".".join([*parents, *([node.module] if node.module else [])])
    for alias in node.names:
        result.imports[alias.asname or alias.name] = (base, alias.name)
    result.packages.add(base.split(".")[0])


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_guard(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":` of a library module, which a script that imports it never runs."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


@functools.cache
def _text(statement: ast.stmt) -> str:
    """The statement's source without docstrings, comments and layout."""

    class Strip(ast.NodeTransformer):
        def generic_visit(self, node: ast.AST) -> ast.AST:
            super().generic_visit(node)
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [s for s in body if not _is_docstring(s)] or [ast.Pass()]
            return node

    return ast.unparse(Strip().visit(statement))
