"""What every experiment leaves behind, and tiny configurations by the names of their options."""

import dataclasses
import json

TRAINED = {"steps", "train_seconds", "compile_seconds", "steps_per_second", "parameters_sha256"}


def assert_contract(out, report, *, keys=(), pictures=(), trained=True):
    """The report is in the folder, with the keys of every experiment and of this one."""
    assert json.loads((out / "metrics.json").read_text()) == report
    assert report.keys() >= {"experiment", "dataset", "device", "jax_version", *keys}
    assert ("seed" in report) != ("seeds" in report)
    assert report.keys() & TRAINED == (TRAINED if trained else set())
    assert {path.stem for path in out.glob("*.png")} == set(pictures)
    assert (out / "config.json").exists()


def log_of(out):
    return [json.loads(record) for record in (out / "log.jsonl").read_text().splitlines()]


def configure(config, **options):
    """A configuration with other values of some options, whatever their group."""
    groups, given = {}, dict(options)
    for group in dataclasses.fields(config):
        own = getattr(config, group.name)
        if not dataclasses.is_dataclass(own):
            if group.name in given:
                groups[group.name] = given.pop(group.name)
            continue
        names = {field.name for field in dataclasses.fields(own)} & given.keys()
        groups[group.name] = dataclasses.replace(own, **{name: given.pop(name) for name in names})
    assert not given, f"no options: {sorted(given)}"
    return dataclasses.replace(config, **groups)
