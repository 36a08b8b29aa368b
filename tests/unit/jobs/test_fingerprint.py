"""The code fingerprint of a script, on small packages written here."""

import os
import textwrap

import pytest

from deep_restoration.jobs.fingerprint import fingerprint, reached


class Project:
    """A script and a package; `files` maps names to their source."""

    def __init__(self, folder):
        self.script, self.package = folder / "script.py", folder / "deep_restoration"
        self.write("__init__.py", '"""A package."""\n')

    def write(self, name, source):
        path = self.script if name == "script.py" else self.package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))

    def fingerprint(self):
        return fingerprint(self.script, self.package)

    def pieces(self):
        return reached(self.script, self.package)[0]

    def packages(self):
        return reached(self.script, self.package)[1]

    def changes(self, name, old, new):
        """Whether replacing `old` by `new` in a file changes the fingerprint; undone afterwards."""
        path = self.script if name == "script.py" else self.package / name
        before, source = self.fingerprint(), path.read_text()
        assert old in source
        path.write_text(source.replace(old, new))
        changed = self.fingerprint() != before
        path.write_text(source)
        assert self.fingerprint() == before
        return changed


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def usual(project):
    project.write(
        "script.py",
        '''\
        """A script."""
        from deep_restoration import tools
        from deep_restoration.shapes import Circle

        SIDE = 3


        def helper():
            return SIDE


        print(tools.area(SIDE), Circle())

        if __name__ == "__main__":
            print("main")
        ''',
    )
    project.write(
        "tools.py",
        '''\
        """Tools."""
        import numpy as np

        FACTOR = 2
        UNUSED = 5


        def area(side):
            """Documented."""
            # commented
            return FACTOR * inner(side)


        def inner(side):
            return side**2


        def unreached():
            return 7


        if __name__ == "__main__":
            print(area(11))
        ''',
    )
    project.write(
        "shapes.py",
        """\
        class Base:
            sides = 0


        class Circle(Base):
            def area(self):
                from .lazy import pi

                return pi()


        class Square(Base):
            sides = 4
        """,
    )
    project.write("lazy.py", "def pi():\n    return 3.14\n\n\ndef e():\n    return 2.71\n")
    return project


def test_it_is_sixteen_hexadecimal_digits_and_repeats(usual):
    found = usual.fingerprint()
    assert len(found) == 16
    assert int(found, 16) >= 0
    assert usual.fingerprint() == found


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tools.py", "# commented", "# commented otherwise, and longer"),
        ("tools.py", '"""Documented."""', '"""Other words."""'),
        ("tools.py", '    """Documented."""\n', ""),
        ("tools.py", '"""Tools."""', '"""Other words."""'),
        ("tools.py", "FACTOR * inner(side)", "(FACTOR\n        *   inner(side))"),
        ("tools.py", "\n\n\ndef inner", "\n\n\n\n\n\ndef inner"),
        ("tools.py", "import numpy as np\n", "import numpy as np\nfrom math import pi\n"),
        ("script.py", '"""A script."""', '"""Other words."""'),
        ("script.py", "SIDE = 3\n", "SIDE = 3  # pixels\n"),
        ("shapes.py", "class Circle(Base):\n", 'class Circle(Base):\n    """Round."""\n\n'),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(usual, name, old, new):
    assert not usual.changes(name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("script.py", "SIDE = 3", "SIDE = 4"),
        ("script.py", "return SIDE", "return SIDE + 1"),
        ("script.py", 'print("main")', 'print("Main")'),
        ("tools.py", "FACTOR * inner", "FACTOR + inner"),
        ("tools.py", "side**2", "side**3"),
        ("tools.py", "FACTOR = 2", "FACTOR = 3"),
        ("shapes.py", "return pi()", "return 2 * pi()"),
        ("shapes.py", "sides = 0", "sides = 1"),
        ("lazy.py", "3.14", "3.1416"),
    ],
)
def test_reached_code_counts(usual, name, old, new):
    assert usual.changes(name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tools.py", "return 7", "return 8"),
        ("tools.py", "UNUSED = 5", "UNUSED = 6"),
        ("tools.py", "print(area(11))", "print(area(12))"),
        ("shapes.py", "sides = 4", "sides = 5"),
        ("lazy.py", "2.71", "2.718"),
    ],
)
def test_code_out_of_reach_does_not_count(usual, name, old, new):
    assert not usual.changes(name, old, new)


def test_what_only_moves_results_does_not_count_and_what_calls_it_does(usual):
    usual.write("jobs/__init__.py", "")
    usual.write("jobs/store.py", "import os\nos.umask(1)\ndef take():\n    return 1\n")
    before = usual.fingerprint()
    call = "    from .jobs import store\n    store.take()\n    return FACTOR * inner(side)"
    assert usual.changes("tools.py", "    return FACTOR * inner(side)", call)
    tools = (usual.package / "tools.py").read_text()
    usual.write("tools.py", tools.replace("    return FACTOR * inner(side)", call))
    assert usual.fingerprint() != before
    assert not usual.changes("jobs/store.py", "return 1", "return 2")
    assert not usual.changes("jobs/store.py", "umask(1)", "umask(2)")


def test_which_samples_a_shard_computes_counts(usual):
    usual.write("jobs/__init__.py", "")
    usual.write("jobs/shards.py", "def part():\n    return 1\n")
    call = "    from .jobs import shards\n    return FACTOR * inner(side) * shards.part()"
    tools = (usual.package / "tools.py").read_text()
    usual.write("tools.py", tools.replace("    return FACTOR * inner(side)", call))
    assert usual.changes("jobs/shards.py", "return 1", "return 2")


WORDS = """
import logging
log = logging.getLogger("a")
def spoken(side):
    what = "square" if side else "point"
    mode, place = "r", "file"
    log.info("side %d of a figure", side)
    log.info("mode %s", stated("loud"))
    if side < 0:
        raise ValueError(f"a {what} of side {side} is none; give {'a' 'number'}")
    open(place, mode)
    return StorageError("there is no " + place), f"side {side}", {"key": 2}
def stated(word):
    return word
"""


@pytest.fixture
def speaking(usual):
    usual.write("words.py", WORDS)
    tools = (usual.package / "tools.py").read_text()
    call = "    from .words import spoken\n    spoken(side)\n    return FACTOR * inner(side)"
    usual.write("tools.py", tools.replace("    return FACTOR * inner(side)", call))
    return usual


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("side %d of a figure", "a figure's side is %d"),
        ('f"a {what} of side {side} is none; give', 'f"{what}, {side}: give'),
        ('"square" if', '"rectangle" if'),
        ('"there is no "', '"missing: "'),
        ('log.info("side %d', 'log.info("sides: %d'),
    ],
)
def test_words_of_errors_and_of_the_log_do_not_count(speaking, old, new):
    assert not speaking.changes("words.py", old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("if side < 0", "if side < 1"),  # beside words
        ('mode, place = "r"', 'mode, place = "w"'),
        ('"file"', '"folder"'),  # said in an error, and opened
        ('f"side {side}"', 'f"sides {side}"'),
        ('{"key": 2}', '{"name": 2}'),
        ('stated("loud")', 'stated("soft")'),  # what the log is told, but not by itself
        ('getLogger("a")', 'getLogger("b")'),
        ("raise ValueError", "raise TypeError"),
    ],
)
def test_other_strings_and_what_stands_beside_words_count(speaking, old, new):
    assert speaking.changes("words.py", old, new)


def test_modules_out_of_reach_do_not_count(usual):
    before = usual.fingerprint()
    usual.write("other.py", "import os\nos.environ['X'] = '1'\n")
    assert usual.fingerprint() == before


def test_place_and_time_stamps_do_not_count(usual, tmp_path):
    before = usual.fingerprint()
    for path in tmp_path.rglob("*.py"):
        os.utime(path, (1, 1))
    assert usual.fingerprint() == before
    moved = Project(tmp_path / "elsewhere")
    for path in (usual.script, *usual.package.glob("*.py")):
        moved.write(path.name, path.read_text())
    assert moved.fingerprint() == before


def test_edit_with_an_old_time_stamp_is_seen(usual):
    before, path = usual.fingerprint(), usual.package / "tools.py"
    path.write_text(path.read_text().replace("side**2", "side**3"))
    os.utime(path, (1, 1))
    assert usual.fingerprint() != before


# script, package, and an edit that the script's numbers depend on
SEEN = {
    "from . import x, x.attribute": (
        "from deep_restoration import a\na.f()\n",
        {"a.py": "from . import b\ndef f():\n    return b.g()\n", "b.py": "def g():\n    return 1\n"},
    ),
    "lazy from . import": (
        "from deep_restoration import a\na.f()\n",
        {"a.py": "def f():\n    from . import b\n    return b.g()\n", "b.py": "def g():\n    return 1\n"},
    ),
    "relative import from a subpackage": (
        "from deep_restoration.p import a\na.f()\n",
        {
            "p/__init__.py": "",
            "p/a.py": "from .. import b\ndef f():\n    return b.g()\n",
            "b.py": "def g():\n    return 1\n",
        },
    ),
    "import as": (
        "import deep_restoration.b as c\nc.g()\n",
        {"b.py": "def g():\n    return 1\n"},
    ),
    "renamed import": (
        "from deep_restoration.b import g as h\nh()\n",
        {"b.py": "def g():\n    return 1\n"},
    ),
    "import inside a with block": (
        "with open('x'):\n    from deep_restoration import b\n    b.g()\n",
        {"b.py": "def g():\n    return 1\n"},
    ),
    "import in one block, use in another": (
        "with open('x'):\n    from deep_restoration import b\nb.g()\n",
        {"b.py": "def g():\n    return 1\n"},
    ),
    "guarded import in a module": (
        "from deep_restoration import a\na.f()\n",
        {
            "a.py": "try:\n    from . import b\nexcept ImportError:\n    b = None\ndef f():\n    b.g()\n",
            "b.py": "def g():\n    return 1\n",
        },
    ),
    "re-export of the package": (
        "from deep_restoration import g\ng()\n",
        {"__init__.py": "from .b import g\n", "b.py": "def g():\n    return 1\n"},
    ),
    "re-export of a module": (
        "from deep_restoration import a\na.g()\n",
        {"a.py": "from .b import g\n", "b.py": "def g():\n    return 1\n"},
    ),
    "module re-exported by its package": (
        "from deep_restoration import p\np.b.g()\n",
        {"p/__init__.py": "from . import b\n", "p/b.py": "def g():\n    return 1\n"},
    ),
    "module of a module": (
        "from deep_restoration import a\na.b.g()\n",
        {"a.py": "from . import b\n", "b.py": "def g():\n    return 1\n"},
    ),
    "dotted import": (
        "import deep_restoration.b\ndeep_restoration.b.g()\n",
        {"b.py": "def g():\n    return 1\n"},
    ),
    "module handed on": (
        "from deep_restoration import b\nprint(vars(b))\n",
        {"b.py": "def g():\n    return 1\n"},
    ),
    "registry": (
        "from deep_restoration import b\nb.pick('g')\n",
        {"b.py": "def g():\n    return 1\nKINDS = {'g': g}\ndef pick(n):\n    return KINDS[n]()\n"},
    ),
    "registry entry added later": (
        "from deep_restoration import b\nb.pick('g')\n",
        {"b.py": "KINDS = {}\ndef pick(n):\n    return KINDS[n]\nKINDS['g'] = 1\n"},
    ),
    "loose statement": (
        "from deep_restoration import b\nb.g()\n",
        {"b.py": "import os\nos.environ['X'] = '1'\ndef g():\n    pass\n"},
    ),
    "loose call": (
        "from deep_restoration import b\n",
        {"b.py": "import os\nos.umask(1)\n"},
    ),
    "loose statement of an imported module's import": (
        "from deep_restoration import a\na.f()\n",
        {"a.py": "from . import b\ndef f():\n    pass\n", "b.py": "import os\nos.umask(1)\n"},
    ),
    "loose statement of the package": (
        "from deep_restoration import b\nb.g()\n",
        {"__init__.py": "import os\nos.umask(1)\n", "b.py": "def g():\n    pass\n"},
    ),
    "what a loose statement calls": (
        "from deep_restoration import b\n",
        {"b.py": "def g():\n    return 1\ng()\n"},
    ),
    "augmented constant": (
        "from deep_restoration import b\nb.g()\n",
        {"b.py": "N = 0\nN += 1\ndef g():\n    return N\n"},
    ),
    "tuple of constants": (
        "from deep_restoration import b\nb.g()\n",
        {"b.py": "M, N = 0, 1\ndef g():\n    return N\n"},
    ),
    "annotated constant": (
        "from deep_restoration import b\nb.g()\n",
        {"b.py": "N: int = 1\ndef g():\n    return N\n"},
    ),
    "default value": (
        "from deep_restoration import b\nb.g()\n",
        {"b.py": "def g(n=1):\n    return n\n"},
    ),
    "decorator": (
        "from deep_restoration import b\nb.g()\n",
        {"b.py": "def twice(f):\n    return 1\n@twice\ndef g():\n    pass\n"},
    ),
    "base class elsewhere": (
        "from deep_restoration.a import A\nA()\n",
        {"a.py": "from . import b\nclass A(b.B):\n    pass\n", "b.py": "class B:\n    n = 1\n"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SEEN)
def test_every_way_to_reach_code_is_seen(project, case):
    script, files = SEEN[case]
    project.write("script.py", script)
    for name, source in files.items():
        project.write(name, source)
    edited = [name for name, source in files.items() if "1" in source]
    assert len(edited) == 1
    assert project.changes(edited[0], "1", "22")


def test_mutual_and_self_imports_end(project):
    project.write("script.py", "from deep_restoration import a, b\na.f()\na.b.a.f()\n")
    project.write("a.py", "from . import a, b\ndef f():\n    return b.g()\n")
    project.write("b.py", "from . import a\ndef g():\n    return a.f() + 1\n")
    assert project.changes("b.py", "+ 1", "+ 2")


def test_pieces_are_named_by_module_and_definition(usual):
    found = set(usual.pieces())
    assert {"deep_restoration.tools:area", "deep_restoration.lazy:pi"} <= found
    assert "deep_restoration.tools:unreached" not in found


def test_versions_of_numeric_packages_count(project, monkeypatch):
    from deep_restoration.jobs import fingerprint as module

    project.write("script.py", "def f():\n    import torch\n    from PIL import Image\n")
    assert {"torch", "PIL"} <= project.packages()
    before = project.fingerprint()
    monkeypatch.setattr(module, "installed", lambda name: "0.0.1")
    assert project.fingerprint() != before


def test_versions_of_other_packages_do_not_count(project, monkeypatch):
    from deep_restoration.jobs import fingerprint as module

    project.write("script.py", "import json, numpy\n")
    before = project.fingerprint()
    monkeypatch.setattr(module, "installed", lambda name: "0.0.1")
    assert project.fingerprint() == before


def test_sources_are_parsed_once_by_their_content(usual, monkeypatch, tmp_path):
    from deep_restoration.jobs import fingerprint as module

    monkeypatch.setenv("RESTORATION_CACHE", str(tmp_path / "cache"))
    parsed, parse = [], module._parse
    monkeypatch.setattr(module, "_parse", lambda *args: parsed.append(args[1].name) or parse(*args))
    before = usual.fingerprint()
    assert sorted(parsed) == ["__init__.py", "lazy.py", "script.py", "shapes.py", "tools.py"]
    assert usual.fingerprint() == before
    moved = Project(tmp_path / "elsewhere")  # as another checkout
    for path in (usual.script, *usual.package.glob("*.py")):
        moved.write(path.name, path.read_text())
    assert moved.fingerprint() == before
    assert len(parsed) == 5
    assert usual.changes("tools.py", "side**2", "side**3")
    assert parsed[5:] == ["tools.py"]
    for file in tmp_path.glob("cache/*/*"):
        file.write_bytes(file.read_bytes()[:-9])
    assert usual.fingerprint() == before


def test_the_same_source_is_read_otherwise_as_script_and_in_a_package(project):
    source = "from . import b\nif __name__ == '__main__':\n    b.g()\n"
    project.write("script.py", "from deep_restoration.p import a\na.b.g()\n")
    project.write("p/__init__.py", "")
    project.write("p/a.py", source)
    project.write("p/b.py", "def g():\n    return 1\n")
    project.write("a.py", source)
    project.write("b.py", "def g():\n    return 2\n")
    assert project.changes("p/b.py", "1", "3")
    assert not project.changes("b.py", "2", "3")


def test_imports_for_type_checkers_alone_do_not_count(project):
    project.write("script.py", "from deep_restoration import a\na.f()\n")
    guard = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import g\n"
    project.write("a.py", f"{guard}def f():\n    return 1\n")
    project.write("b.py", "import os\nos.umask(1)\ndef g():\n    return 1\n")
    assert not project.changes("b.py", "umask(1)", "umask(2)")
    assert project.changes("a.py", "return 1", "return 2")


def test_missing_and_broken_files_are_errors(project):
    with pytest.raises(FileNotFoundError):
        project.fingerprint()
    project.write("script.py", "def f(:\n")
    with pytest.raises(SyntaxError):
        project.fingerprint()


def test_scripts_of_the_project_all_have_one():
    from pathlib import Path

    import deep_restoration

    library = Path(deep_restoration.__file__).parent
    found = {script: fingerprint(script, library) for script in library.parent.glob("scripts/*.py")}
    assert len(found) > 10
    pieces, _ = reached(library.parent / "scripts/reconstruct.py", library)
    jobs = {name.partition(":")[0] for name in pieces if ".jobs" in name}
    assert jobs == {"deep_restoration.jobs.shards"}
    assert len(set(found.values())) == len(found)
