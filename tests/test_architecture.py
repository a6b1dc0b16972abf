import json
import subprocess
import sys
from pathlib import Path

import pytest
from architecture import FLOORS, floors_of_page, violations

ROOT = Path(__file__).resolve().parents[1]

SOUND = {
    "jaxvae/__init__.py": "from jaxvae import nn as nn\nfrom jaxvae.model import A as A\n",
    "jaxvae/_types.py": "X = 1\n",
    "jaxvae/_check.py": "from jaxvae._types import X\n",
    "jaxvae/ode.py": "import diffrax\nfrom jaxvae import _check\n",
    "jaxvae/model.py": "A = 1\n_B = 2\n",
    "jaxvae/nn/__init__.py": "from jaxvae.nn.mlp import mlp as mlp\n",
    "jaxvae/nn/mlp.py": "import flax\nfrom jaxvae.nn.other import f\nfrom jaxvae import ode\n",
    "jaxvae/nn/other.py": "f = lambda: 1\n",
    "jaxvae/models/__init__.py": "",
    "jaxvae/objectives/__init__.py": "",
    "experiments/__init__.py": "",
    "benchmarks/__init__.py": "",
    "jaxvae/models/vae.py": "from ..model import A\nfrom jaxvae.nn import mlp\n",
    "jaxvae/objectives/elbo.py": "def f():\n    from jaxvae.model import A\n    return A\n",
    "experiments/vae.py": "from jaxvae import nn\nfrom jaxvae.model import A\n\nnn.mlp\n",
    "tests/nn/test_mlp.py": "",
}

PLANTED = {
    "upwards": ("jaxvae/nn/mlp.py", "from jaxvae.models import vae", "nn imports models"),
    "upwards by name": ("jaxvae/nn/mlp.py", "from jaxvae import models", "nn imports models"),
    "upwards, relative": ("jaxvae/nn/mlp.py", "from ..model import A", "nn imports model,"),
    "upwards, plain": ("jaxvae/nn/mlp.py", "import jaxvae.model", "nn imports model,"),
    "upwards, lazily": (
        "jaxvae/nn/mlp.py",
        "def f():\n    import jaxvae.training.fit",
        "nn imports training",
    ),
    "to the top": ("jaxvae/models/vae.py", "from jaxvae import Params", "models imports jaxvae"),
    "sideways": (
        "jaxvae/objectives/elbo.py",
        "from jaxvae.models.vae import vae",
        "imports models",
    ),
    "sideways below": ("jaxvae/nn/mlp.py", "from jaxvae import data", "nn imports data"),
    "flax": ("jaxvae/models/vae.py", "import flax.nnx", "only nn may import flax"),
    "diffrax": ("jaxvae/nn/mlp.py", "from diffrax import Tsit5", "only ode may import diffrax"),
    "experiments": ("jaxvae/ode.py", "import experiments.vae", "imports experiments"),
    "no floor": ("jaxvae/extra.py", "X = 1", "extra has no floor"),
    "unknown": ("jaxvae/models/vae.py", "import jaxvae.extra", "extra has no floor"),
    "code in init": ("jaxvae/nn/__init__.py", "X = 1", "an __init__ holds"),
    "no alias": ("jaxvae/nn/__init__.py", "from jaxvae.nn.mlp import g", "an __init__ holds"),
    "long file": ("jaxvae/ode.py", "\n" * 400, "lines in a file"),
    "long function": (
        "jaxvae/ode.py",
        "def f():\n" + "    x = 1\n" * 50,
        "50 lines in f",
    ),
    "private module": ("experiments/vae.py", "from jaxvae import _check", "is not public"),
    "private name": ("experiments/vae.py", "from jaxvae.model import _B", "is not public"),
    "inner module": ("benchmarks/b.py", "from jaxvae.nn.mlp import mlp", "is not public"),
    "not exported": ("benchmarks/b.py", "from jaxvae.nn import f", "is not public"),
    "attribute": ("benchmarks/b.py", "from jaxvae import nn\nnn.other", "nn.other is not public"),
    "plain attribute": ("benchmarks/b.py", "import jaxvae\njaxvae.other", "not public"),
    "no package": ("jaxvae/nn/deep/x.py", "X = 1", "its folder has no __init__.py"),
    "cycle": (
        "jaxvae/nn/other.py",
        "def g():\n    from jaxvae.nn.mlp import mlp\n    return mlp",
        "a cycle of imports",
    ),
    "own vmap over examples": (
        "experiments/vae.py",
        "jax.vmap(f, axis_name=EXAMPLES)",
        "call jaxvae.map_examples",
    ),
    "repeated test": ("tests/training/test_mlp.py", "", "is that of tests/nn/test_mlp.py"),
    "whole": ("benchmarks/b.py", "import jaxvae.nn", "instead of `import jaxvae.nn`"),
}


def build(root: Path, sources: dict[str, str]) -> Path:
    for name, source in sources.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return root


def test_the_house_is_in_order():
    assert violations(ROOT) == []


def test_the_page_on_architecture_draws_the_floors_that_are_enforced():
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert floors_of_page(page) == tuple(tuple(sorted(parts)) for parts in FLOORS)


def test_a_sound_package_has_no_violations(tmp_path):
    assert violations(build(tmp_path, SOUND)) == []


@pytest.mark.parametrize(("file", "source", "message"), PLANTED.values(), ids=PLANTED)
def test_a_planted_violation_is_found(tmp_path, file, source, message):
    planted = SOUND | {file: SOUND.get(file, "") + source + "\n"}
    found = violations(build(tmp_path, planted))
    assert len(found) == 1
    assert found[0].startswith(f"{file}:")
    assert message in found[0]


IMPORT_EVERYTHING = """
import json, logging, pkgutil, sys
import flax.nnx, jax, matplotlib, optax, tqdm.auto  # their own effects are not ours
from jax._src import xla_bridge

def loggers():
    root = logging.Logger.manager
    named = {name: x for name, x in root.loggerDict.items() if isinstance(x, logging.Logger)}
    return {name: (x.level, len(x.handlers)) for name, x in {"": root.root, **named}.items()}

def settings():
    return {name: repr(value) for name, value in jax.config.values.items()}

before, config = loggers(), settings()
import jaxvae
heavy = [name for name in HEAVY if name in sys.modules]
for module in pkgutil.walk_packages(jaxvae.__path__, "jaxvae."):
    __import__(module.name)
after = loggers()
print(json.dumps({
    "backends": sorted(xla_bridge._backends),
    "config": [name for name, value in settings().items() if config[name] != value],
    "loggers": [name for name in before if before[name] != after[name]],
    "ours": [name for name, x in after.items() if name.startswith("jaxvae") and x != (0, 0)],
    "heavy": heavy,
}))
"""
HEAVY = [
    "tensorflow_datasets",
    "tensorflow",
    "sklearn",
    "matplotlib.pyplot",
    "orbax.checkpoint",
    "torch",
]


def test_import_is_inert():
    source = IMPORT_EVERYTHING.replace("HEAVY", repr(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not any(json.loads(done.stdout).values()), done.stdout
