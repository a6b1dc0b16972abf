"""The rules of the house, read from the source: ``violations`` lists what breaks them."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

# From the ground up; a module imports from lower floors or from its own package.
FLOORS = (
    ("_types",),
    ("_check", "_run_time"),
    ("_batches", "series"),
    ("distributions", "ode"),
    ("nn", "data", "laplace"),
    ("model", "recipe"),
    ("models", "objectives", "metrics", "plotting"),
    ("training",),
    ("",),  # jaxvae/__init__.py, above all
)
FLOOR = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
ONLY_IN = {"flax": "nn", "diffrax": "ode"}
USERS = ("experiments", "benchmarks")
# The one place with a vmap over examples, by ``map_examples``.
MAPS_EXAMPLES = "jaxvae/model.py"
MAX_FILE, MAX_FUNCTION = 400, 50


def violations(root: Path) -> list[str]:
    """Broken rules of a repository, each as ``file:line: what``."""
    found = []
    for path in sorted(p for top in ("jaxvae", *USERS) for p in (root / top).rglob("*.py")):
        tree, where = ast.parse(path.read_text()), path.relative_to(root)
        rules = [_imports_of_library if where.parts[0] == "jaxvae" else _imports_of_user]
        rules += [_sizes, _named_axes]
        if where.parts[0] == "jaxvae" and path.name == "__init__.py":
            rules.append(_only_reexports)
        if not path.with_name("__init__.py").exists():
            found.append(f"{where}:1: its folder has no __init__.py")
        found += [f"{where}:{line}: {what}" for r in rules for line, what in r(root, path, tree)]
    return found + _cycles(root) + _repeated_test_modules(root)


def floors_of_page(text: str) -> tuple[tuple[str, ...], ...]:
    """The floors that docs/architecture.md gives the parts of the library in its first drawing."""
    block = text[text.index("jaxvae/\n") :]
    rows = re.findall(r"^  (\S.*?)   .*floor (\d+)$", block[: block.index("```")], re.MULTILINE)
    floors: dict[int, list[str]] = {}
    for names, floor in rows:
        found = [name.rstrip("/").removesuffix(".py") for name in names.split()]
        floors.setdefault(int(floor), []).extend("" if n == "__init__" else n for n in found)
    return tuple(tuple(sorted(floors[number])) for number in sorted(floors))


def _cycles(root: Path) -> list[str]:
    """Modules of one part that import one another, by imports inside functions too."""
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((root / "jaxvae").rglob("*.py"))
    }
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        imports = _imports(root, path, ast.parse(path.read_text()))
        reached = (f"{m}.{n}" if f"{m}.{n}" in paths else m for _, m, n in imports)
        part = _part(module)
        own = {name for name in reached if name in paths and _part(name) == part}
        graph[module] = own - {module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        where = paths[error.args[1][1]].relative_to(root)
        return [f"{where}:1: a cycle of imports: {' <- '.join(error.args[1])}"]
    return []


def _repeated_test_modules(root: Path) -> list[str]:
    """Tests whose file's name is taken: pytest cannot collect both in one run."""
    first, found = {}, []
    for path in sorted((root / "tests").rglob("test_*.py")):
        where = path.relative_to(root)
        taken = first.setdefault(path.name, where)
        if taken != where:
            found.append(f"{where}:1: the name is that of {taken}")
    return found


def _imports(root: Path, path: Path, tree: ast.AST) -> Iterator[tuple[int, str, str | None]]:
    """(line, absolute module, imported name) of every import, also inside functions."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, module, alias.name) for alias in node.names)


def _part(module: str, name: str | None = None) -> str:
    """The part of jaxvae that an import reaches: nn for ``jaxvae.nn.mlp`` and (jaxvae, nn)."""
    _, *inner = module.split(".")
    if inner:
        return inner[0]
    return name if name in FLOOR else ""  # a name of jaxvae/__init__.py


def _imports_of_library(root, path, tree):
    inside = path.relative_to(root).with_suffix("").parts[1:]
    own = "" if inside == ("__init__",) else inside[0]
    if own not in FLOOR:
        yield 1, f"{own} has no floor: give it one in tests/architecture.py"
        return
    for line, module, name in _imports(root, path, tree):
        top = module.split(".")[0]
        if top in (*USERS, "tests"):
            yield line, f"the library imports {top}"
        if top in ONLY_IN and own != ONLY_IN[top]:
            yield line, f"only {ONLY_IN[top]} may import {top}"
        if top != "jaxvae":
            continue
        target = _part(module, name)
        if target not in FLOOR:
            yield line, f"{target} has no floor: give it one in tests/architecture.py"
        elif target != own and FLOOR[target] >= FLOOR[own]:
            yield line, f"{own or 'jaxvae'} imports {target or 'jaxvae'}, which is not below it"


def _only_reexports(root, path, tree):
    for number, node in enumerate(tree.body):
        is_docstring = (
            number == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        )
        is_reexport = isinstance(node, ast.ImportFrom) and all(
            alias.asname == alias.name for alias in node.names
        )
        if not (is_docstring or is_reexport):
            yield node.lineno, "an __init__ holds a docstring and `from … import X as X` only"


def _sizes(root, path, tree):
    length = len(path.read_text().splitlines())
    if length >= MAX_FILE:
        yield 1, f"{length} lines in a file: aim below {MAX_FILE}"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            if lines >= MAX_FUNCTION:
                yield node.lineno, f"{lines} lines in {node.name}: aim below {MAX_FUNCTION}"


def _named_axes(root, path, tree):
    if str(path.relative_to(root)) == MAPS_EXAMPLES:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("vmap"):
            names = [keyword.value for keyword in node.keywords if keyword.arg == "axis_name"]
            if any("EXAMPLES" in ast.unparse(name) for name in names):
                yield node.lineno, "a vmap over examples: call jaxvae.map_examples"


def _exports(root: Path, module: str) -> set[str] | None:
    """Names that a package's ``__init__`` exports; None for a module that is a single file."""
    init = root / Path(*module.split(".")) / "__init__.py"
    if not init.exists():
        return None
    reexports = (n for n in ast.parse(init.read_text()).body if isinstance(n, ast.ImportFrom))
    return {alias.asname for node in reexports for alias in node.names if alias.asname}


def _imports_of_user(root, path, tree):
    bound = {}  # local name to the package of jaxvae that it stands for
    for line, module, name in _imports(root, path, tree):
        if module.split(".")[0] != "jaxvae":
            continue
        if name is None:
            bound["jaxvae"] = "jaxvae"
            if module != "jaxvae":
                yield line, f"write `from … import …` instead of `import {module}`"
            continue
        exports, depth = _exports(root, module), module.count(".")
        public = name in exports if exports is not None else depth == 1
        if not public or any(part.startswith("_") for part in (*module.split("."), name)):
            yield line, f"{module}.{name} is not public: import what a package exports"
        bound[name] = f"{module}.{name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            exports = _exports(root, bound.get(node.value.id, "."))
            hidden = node.attr.startswith("_") and not node.attr.startswith("__")
            if node.value.id in bound and (
                hidden or (exports is not None and node.attr not in exports)
            ):
                yield node.lineno, f"{bound[node.value.id]}.{node.attr} is not public"
