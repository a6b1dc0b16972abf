import importlib
import pkgutil
import runpy
import sys

import pytest

import benchmarks

NAMES = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name != "shared")


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_a_command(name, monkeypatch, capsys):
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(SystemExit) as leaving:
        runpy.run_module(module.__name__, run_name="__main__", alter_sys=True)
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert f"python -m benchmarks.{name}" in shown
    flags = [f"--{option.replace('_', '-')}" for option in module.Config.__dataclass_fields__]
    assert {flag for flag in flags if flag not in shown} == set()
