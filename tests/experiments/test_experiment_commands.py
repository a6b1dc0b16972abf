"""The command line of every experiment: its help, its options, and the values that it refuses."""

import dataclasses
import importlib
import pkgutil
import runpy
import sys

import pytest

import experiments
from jaxvae import training

NAMES = sorted(m.name for m in pkgutil.iter_modules(experiments.__path__) if m.name != "shared")
every_experiment = pytest.mark.parametrize("name", NAMES)


@every_experiment
def test_every_experiment_is_a_command_and_its_parts_are_names_for_notebooks(
    name, monkeypatch, capsys
):
    module = importlib.import_module(f"experiments.{name}")
    groups = (getattr(module.Config(), field.name) for field in dataclasses.fields(module.Config))
    flags = [
        f"--{option.name.replace('_', '-')}"
        for group in groups
        if dataclasses.is_dataclass(group)
        for option in dataclasses.fields(group)
    ]
    # Options of all groups share one command line.
    assert len(flags) == len(set(flags))
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    if not hasattr(module, "__path__"):
        monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(SystemExit) as leaving:
        runpy.run_module(module.__name__, run_name="__main__", alter_sys=True)
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert f"python -m experiments.{name}" in shown
    assert {flag for flag in flags if flag not in shown} == set()


WRONG = {
    "adjoint_spiral": """
        --points 0, --span nan, --hidden 0, --tolerance 0, --max-steps 0, --seed -1, --steps 0,
        --fragment 1, --fragment 300, --batch-size 500, --adjoints euler, --adjoints direct direct,
        --learning-rate 0, --seeds 0, --resume""",
    "circular_ode": """
        --stops 0, --test-stops -1, --step 0, --step 2, --step nan, --epochs 0, --batch-size 20000,
        --learning-rate inf, --seeds 0, --seed -1, --resume""",
    "gradient_estimators": """
        --draws 1 1, --draws 1, --dimensions 3, --temperatures 0.5 -1, --seeds 0, --seed -1,
        --epochs 0, --batch-size 2000, --resume, --keys 1, --only nothing, --posterior-scale 0,
        --samples 1""",
    "importance_weighted": "--methods vae_1 vae_1, --nll-samples 0, --kl-warmup-epochs 1",
    "interpolation": """
        --steps 0, --batch-size 0, --learning-rate nan, --latent-dim 0, --units 0, --hidden -1,
        --series 9, --observed-fraction 0, --seeds 0, --seed -1, --dataset other, --resume,
        --data-dir /nowhere, --series 20 --dataset physionet,
        --observed-fraction 0.3 --dataset physionet""",
    "laplace": "--temperatures 1, --chains 0, --nll-samples -1, --hidden 0, --batch-size 2000",
    "latent_ode": """
        --points 1, --points 101, --points 30 30, --series 0, --noise 0, --steps 0, --models euler,
        --models rnn rnn, --seeds 0, --seed -1, --resume, --split random, --preset other""",
    "maximum_likelihood": """
        --points 10, --sizes 3 10, --rates 0.5 -1, --noise 0, --seeds 0, --seed -1, --epochs 0,
        --batch-size 2000, --resume, --scale nan, --degrees 200, --size-degree -1,
        --largest-degree 0""",
    "posteriors": "--posteriors planar planar, --blocks 0, --columns -1, --batch-size 0",
    "reparameterisations": "--samples 1, --seeds 0, --seed -1, --steps 3",
    "vae": """
        --epochs many, --epochs 0, --batch-size 0, --batch-size 2000, --seeds 0, --nll-samples 0,
        --dataset nonsense, --resume, --out ., --learning-rate nan, --learning-rate -1,
        --clip-norm 0, --schedule linear, --latent-dim -2, --patience 3, --parameters best,
        --parameters average, --average 1.5, --resume --overwrite --out x, --rank 1, --epoch 3,
        --free-bits -1, --keep 0, --compute float64, --seed -1, --validation -3,
        --member-groups 2 --devices all""",
}
CASES = [
    pytest.param(name, case.strip(), id=f"{name} {case.strip()}")
    for name, cases in WRONG.items()
    for case in cases.split(",")
]


def test_every_experiment_has_values_that_it_refuses():
    assert sorted(WRONG) == NAMES


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_wrong_values_are_refused_in_one_line_and_nothing_is_written(
    name, arguments, monkeypatch, capsys, tmp_path
):
    module = importlib.import_module(f"experiments.{name}")
    # For several seeds the command line would ask JAX for as many devices as processors.
    one_seed = [] if "--seeds" in arguments else ["--seeds", "1"]
    monkeypatch.setattr(sys, "argv", [name, *one_seed, *arguments.split()])
    monkeypatch.setenv("JAXVAE_COMPILATION_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign.txt").write_text("years of work")
    with pytest.raises(SystemExit) as leaving:
        training.command_line(module.main, module.Config)
    assert leaving.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["foreign.txt"]
    words = [word.removeprefix("--").replace("-", "_") for word in arguments.split()]
    assert any(word.split("_")[0] in shown for word in words if word)
