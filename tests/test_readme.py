import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_example_for_a_notebook_runs_and_trains():
    example, losses, _ = EXAMPLES
    names: dict = {}
    exec(example, names)
    exec(losses, names)
    history = names["result"].history
    assert names["codes"].shape == (2000, 3)
    # Pure noise has nothing to encode: the best bound is close to the entropy of 20 unit Normals.
    assert (
        abs(np.mean([line["bound"] for line in history[-5:]]) + 10 * np.log(2 * np.pi * np.e)) < 0.5
    )
    assert history[0]["bound"] < history[-1]["bound"]


def test_the_example_of_a_differential_equation_runs(capsys):
    names: dict = {}
    exec(EXAMPLES[2], names)
    assert names["path"].shape == (200, 2)
    assert "agree" in capsys.readouterr().out


def test_every_link_and_command_of_the_readme_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
    for name in re.findall(r"-m (experiments|benchmarks)\.([a-z_]+)", README):
        script = ROOT / name[0] / f"{name[1]}.py"
        assert script.exists() or (script.with_suffix("") / "__main__.py").exists(), name


def test_the_package_names_the_extras_that_the_readme_explains():
    project = (ROOT / "pyproject.toml").read_text()
    for extra in re.findall(r"^\| `jaxvae\[(\w+)\]`", README, flags=re.MULTILINE):
        assert f"\n{extra} = [" in project
