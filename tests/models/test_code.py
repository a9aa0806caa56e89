"""A change of the code changes what it computed: all of it for answers, its meaning for samples."""

import ast
import functools
import shutil
from pathlib import Path
from types import ModuleType

import pytest

import certify
import index
import models
import service
from models import code
from models.code import EMBEDDING, code_digest, embedding_code, meaning_digest
from service.retrieval import repeats

ROOT = Path(models.__file__).parent
# Behind an answer, besides the samples.
ANSWERS = [
    (package, path.relative_to(Path(str(package.__file__)).parent))
    for package, below in ((certify, ""), (index, ""), (service, "retrieval"))
    for path in sorted((Path(str(package.__file__)).parent / below).rglob("*.py"))
]
BEHIND_SAMPLES = [
    path.relative_to(ROOT)
    for part in EMBEDDING
    for path in ([ROOT / part] if part.endswith(".py") else sorted((ROOT / part).rglob("*.py")))
]


def copied(package: ModuleType, folder: Path) -> ModuleType:
    """A copy of the package's files, which nobody imports."""
    name = package.__name__
    shutil.copytree(
        Path(str(package.__file__)).parent, folder / name, ignore=shutil.ignore_patterns("pretrained")
    )
    found = ModuleType(name)
    found.__file__ = str(folder / name / "__init__.py")
    return found


# --- answers


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> list[ModuleType]:
    folder = tmp_path_factory.mktemp("tree")
    return [copied(package, folder) for package in (certify, index, models, service)]


def test_there_is_something_to_change() -> None:
    assert len(ANSWERS) > 35
    assert {package for package, _ in ANSWERS} == {certify, index, service}


@pytest.mark.parametrize(("package", "path"), ANSWERS, ids=[f"{p.__name__}/{path}" for p, path in ANSWERS])
def test_a_change_in_any_file_changes_the_key_of_answers(
    package: ModuleType, path: Path, tree: list[ModuleType]
) -> None:
    before = code_digest(*tree, libraries=repeats.LIBRARIES)
    assert before == repeats.CODE
    file = next(Path(str(copy.__file__)).parent for copy in tree if copy.__name__ == package.__name__) / path
    content = file.read_bytes()
    file.write_bytes(content + b"#")
    assert code_digest(*tree, libraries=repeats.LIBRARIES) != before
    file.write_bytes(content)
    assert code_digest(*tree, libraries=repeats.LIBRARIES) == before


def test_a_new_file_in_a_new_folder_changes_it_and_so_does_another_library(tree: list[ModuleType]) -> None:
    folder = Path(str(tree[0].__file__)).parent / "below" / "it"
    folder.mkdir(parents=True)
    (folder / "new.py").write_text("")
    assert code_digest(*tree, libraries=repeats.LIBRARIES) != repeats.CODE
    shutil.rmtree(folder.parent)
    assert code_digest(*tree, libraries=repeats.LIBRARIES) == repeats.CODE
    assert code_digest(*tree, libraries=repeats.LIBRARIES[1:]) != repeats.CODE


# --- samples


# Each text is parsed once: a digest is one of forty files, of which one differs.
meaning = functools.cache(code._meaning)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(code, "_meaning", meaning)
    shutil.copytree(ROOT, tmp_path / "models", ignore=shutil.ignore_patterns("pretrained", "*.npz"))
    return tmp_path / "models"


def other_constant(source: str) -> str | None:
    """The source with its first number that is one higher, or its first text longer; None without either."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and id(node) not in docstrings
            and type(node.value) in (int, float, str)
        ):
            node.value += "!" if isinstance(node.value, str) else 1
            return ast.unparse(tree)
    return None


@pytest.mark.parametrize("path", BEHIND_SAMPLES, ids=str)
def test_a_constant_changes_the_key_of_samples_and_a_comment_does_not(path: Path, package: Path) -> None:
    assert meaning_digest(package, EMBEDDING) == embedding_code()
    file = package / path
    source = file.read_text()
    changed = other_constant(source)
    if changed is not None:
        file.write_text(changed)
        assert meaning_digest(package, EMBEDDING) != embedding_code()
    # Comments, layout and docstrings are gone: nothing is left to tell the two apart.
    file.write_text("# a comment\n\n" + ast.unparse(ast.parse(source)) + "\n\n# and another\n")
    assert meaning_digest(package, EMBEDDING) == embedding_code()
    file.write_text(source.replace('"""', '"""Another docstring. ', 1))
    assert meaning_digest(package, EMBEDDING) == embedding_code()


def test_most_files_behind_samples_have_a_constant_to_change() -> None:
    having = [path for path in BEHIND_SAMPLES if other_constant((ROOT / path).read_text())]
    assert len(having) >= len(BEHIND_SAMPLES) - 4  # the docstrings of folders, and an error
    for name in (
        "noise/normal.py",
        "manifest.py",
        "model.py",
        "networks/convolutional.py",
        "sampling/engine.py",
    ):
        assert Path(name) in having


def test_what_is_not_behind_samples_does_not_count(package: Path) -> None:
    for name in ("training.py", "stop.py", "datasets/digits.py"):
        (package / name).write_text("CHANGED = True\n")
    assert meaning_digest(package, EMBEDDING) == embedding_code()


def test_a_file_that_moves_or_is_new_counts(package: Path) -> None:
    (package / "networks" / "other.py").write_text("")
    assert meaning_digest(package, EMBEDDING) != embedding_code()
    (package / "networks" / "other.py").unlink()
    (package / "passes" / "variants.py").rename(package / "passes" / "variations.py")
    assert meaning_digest(package, EMBEDDING) != embedding_code()


def test_code_that_is_missing_is_no_code_without_meaning(package: Path) -> None:
    (package / "noise" / "normal.py").unlink()
    with pytest.raises(FileNotFoundError):
        meaning_digest(package, EMBEDDING)


def test_another_python_is_another_digest(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code.sys, "version_info", (3, 99, 0, "final", 0))
    assert meaning_digest(package, EMBEDDING) != embedding_code()


def test_text_that_only_looks_like_a_comment_or_a_docstring_counts(tmp_path: Path) -> None:
    def digest(source: str) -> str:
        (tmp_path / "noise.py").write_text(source)
        return meaning_digest(tmp_path, ["noise.py"])

    assert digest('X = "# one"') != digest('X = "# two"')
    assert digest('def f():\n    """One."""\n    return """a"""') != digest(
        'def f():\n    """One."""\n    return """b"""'
    )
    assert digest('class A:\n    """One."""\n    x = 1') == digest("class A:\n    x = 1  # one")
    assert digest("x = 1\ny = 2") != digest("y = 2\nx = 1")
