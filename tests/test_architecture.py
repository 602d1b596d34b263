"""The rooms of design: who may know whom, and how large anything may grow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import acoustic_ad

PACKAGE = Path(acoustic_ad.__file__).parent
FILES = {str(file.relative_to(PACKAGE)): file for file in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}

SIBLINGS = {"sound", "detectors", "scores", "health"}
TOP = {"cli", "report"}
# Room -> the rooms it may import from, beside itself. `recipe` looks up the options of the detector that it names, and
# those of the health policy.
# jobs and report are neighbours: a job hands out rows in the shape that people read.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "recipe": {"errors", "detectors", "health"},
    "sound": {"errors"},
    "detectors": {"errors"},
    "scores": {"errors"},
    "health": {"errors"},
    "models": {"errors", "recipe", "sound", "detectors", "scores"},
    "jobs": {"errors", "recipe", "report", "models"} | SIBLINGS,
    "report": {"errors", "recipe", "jobs", "models"} | SIBLINGS,
}
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_WITHOUT_DOCSTRING = 300, 50, 8


def room_of(name: str) -> str:
    """`sound` for sound/audio.py, `recipe` for recipe.py and recipe_files.py, `cli` for the whole command line."""
    first = Path(name).parts[0].removesuffix(".py")
    if first.startswith("recipe"):
        return "recipe"
    return "cli" if first.startswith(("cli", "console", "__")) else first


def imports(tree: ast.AST) -> set[str]:
    """Dotted names of all that is imported, at the top or inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_package_is_seen() -> None:
    assert len(FILES) > 30
    assert {room_of(name) for name in FILES} >= ALLOWED.keys() | {"cli"}


def test_every_room_is_known() -> None:
    unknown = {room_of(name) for name in FILES} - ALLOWED.keys() - {"cli"}
    assert not unknown, f"say in ALLOWED what these may import: {sorted(unknown)}"


def test_imports_point_one_way() -> None:
    wrong = []
    for name, tree in TREES.items():
        room = room_of(name)
        if room == "cli":
            continue
        for imported in sorted(imports(tree)):
            if not imported.startswith("acoustic_ad."):
                continue
            other = room_of(imported.split(".")[1])
            # `from acoustic_ad import __version__` says who one is; it is no room.
            if other != room and other not in ALLOWED[room] and imported != "acoustic_ad.__version__":
                wrong.append(f"{name} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_nothing_below_imports_the_command_line() -> None:
    wrong = [
        name
        for name, tree in TREES.items()
        if room_of(name) != "cli" and any(found.split(".")[0] in ("typer", "click") for found in imports(tree))
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("room", ["detectors", "scores"])
def test_arrays_in_arrays_out(room: str) -> None:
    files = {"os", "pathlib", "io", "glob", "shutil", "tempfile", "soundfile", "tomllib", "json", "logging"}
    wrong = []
    for name, tree in TREES.items():
        if room_of(name) != room:
            continue
        wrong += [f"{name} imports {found}" for found in imports(tree) if found.split(".")[0] in files]
        wrong += [
            f"{name}:{node.lineno} opens a file"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"
        ]
    assert not wrong, "\n".join(wrong)


def test_nothing_that_runs_code_from_files() -> None:
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    wrong = []
    for name, tree in TREES.items():
        wrong += [f"{name} imports {found}" for found in imports(tree) if found.split(".")[0] in forbidden]
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            keys = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in ("torch.load", "eval", "exec", "yaml.load") or keys.get("allow_pickle") == "True":
                wrong.append(f"{name}:{node.lineno} calls {called}")
    assert not wrong, "\n".join(wrong)


def test_habits_that_weak_code_has() -> None:
    wrong = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                wrong.append(f"{name}:{node.lineno} bare except")
            elif isinstance(node, ast.Assert):
                wrong.append(f"{name}:{node.lineno} assert: raise an error instead")
            elif isinstance(node, ast.Call) and room_of(name) != "cli":
                called = ast.unparse(node.func)
                if called in ("print", "sys.exit", "exit", "quit"):
                    wrong.append(f"{name}:{node.lineno} {called} inside the library")
    assert not wrong, "\n".join(wrong)


def test_files_fit_in_the_head() -> None:
    lengths = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in FILES.items()}
    long = [f"{name}: {length} lines" for name, length in lengths.items() if length >= LONGEST_FILE]
    assert not long, f"files of {LONGEST_FILE} lines or more:\n" + "\n".join(long)


def functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """(where, function, whether it is public) of every function and method in the package."""
    found = []

    def walk(node: ast.AST, name: str, public: bool) -> None:
        for child in ast.iter_child_nodes(node):
            inside = public
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = public and not child.name.startswith("_")
                found.append((f"{name}:{child.lineno} {child.name}", child, inside))
                inside = False  # what is defined inside a function is nobody else's
            elif isinstance(child, ast.ClassDef):
                inside = public and not child.name.startswith("_")
            walk(child, name, inside)

    for name, tree in TREES.items():
        walk(tree, name, True)
    return found


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def length_to_read(where: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function; of a command without its signature, which is the list of its options."""
    if room_of(where.split(":")[0]) == "cli":
        return (function.end_lineno or function.lineno) - function.body[0].lineno + 1
    return length_of(function)


def test_functions_fit_on_a_screen() -> None:
    assert len(functions()) > 200
    long = [
        f"{where}: {length_to_read(where, function)} lines"
        for where, function, _ in functions()
        if length_to_read(where, function) >= LONGEST_FUNCTION
    ]
    assert not long, f"functions of {LONGEST_FUNCTION} lines or more:\n" + "\n".join(long)


def test_what_others_call_is_documented() -> None:
    silent = [
        where
        for where, function, public in functions()
        if public and length_of(function) > LONGEST_WITHOUT_DOCSTRING and not ast.get_docstring(function)
    ]
    assert not silent, "public functions without a docstring:\n" + "\n".join(silent)


def test_every_file_opens_with_what_it_is_for() -> None:
    silent = [name for name, tree in TREES.items() if tree.body and not ast.get_docstring(tree)]
    assert not silent, "files without a docstring:\n" + "\n".join(silent)
