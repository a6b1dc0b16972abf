import json
import os
import shutil
import signal
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxvae
from jaxvae import models, nn, objectives, recipe, training

pytestmark = pytest.mark.usefixtures("quick_compilation")


@dataclass(frozen=True)
class Config:
    epochs: int = 2
    rate: float = 0.1
    hidden: tuple[int, ...] = (5,)


RECIPE = partial(
    models.vae,
    encoder=partial(nn.mlp, (4,), (4,), hidden=(5,)),
    decoder=partial(nn.mlp, (2,), (4,), hidden=(5,)),
    latent_dim=2,
)
ROWS = np.random.default_rng(0).random((40, 4)).astype(np.float32)


def keys(count):
    seeds = jnp.arange(count or 1)
    return jax.random.key(0) if count is None else jax.vmap(jax.random.key)(seeds)


def train(run, steps, count=None, callbacks=(), **options):
    model = recipe.build(RECIPE)
    return training.fit(
        partial(objectives.elbo, model),
        model.init,
        ROWS,
        key=keys(count),
        num_steps=steps,
        optimiser=optax.adam(1e-2),
        batch_size=10,
        progress=False,
        run=run,
        callbacks=callbacks,
        **options,
    )


def complete(folder, steps, count=None, fit=MappingProxyType({}), **options):
    with training.open_run(folder, Config(), recipe=RECIPE, members=count, **options) as run:
        return train(run, steps, count, **fit), run.history()


def press_at(number, step, times=1):
    def callback(state, line):
        if line["step"] == step:
            for _ in range(times):
                os.kill(os.getpid(), number)

    return callback


def test_an_interrupted_run_resumes_to_the_uninterrupted_one_bit_for_bit(tmp_path, capsys):
    handler = signal.getsignal(signal.SIGINT)
    whole, history = complete(tmp_path / "whole", 20)
    folder = tmp_path / "cut"
    with (
        pytest.raises(KeyboardInterrupt),
        training.open_run(folder, Config(), recipe=RECIPE) as run,
    ):
        train(run, 20, callbacks=[press_at(signal.SIGINT, 8)])
    assert "saved at step 8" in capsys.readouterr().out
    resumed, again = complete(folder, 20, resume=True)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)
    assert training.parameters_sha256(resumed.params) == training.parameters_sha256(whole.params)
    assert [line["bound"] for line in again] == [line["bound"] for line in history]
    assert signal.getsignal(signal.SIGINT) is handler


def test_lines_after_the_checkpoint_are_logged_once(tmp_path):
    complete(tmp_path / "run", 8)
    with (tmp_path / "run" / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": 12, "bound": 0.0}) + '\n{"step": 16, "bou')
    _, history = complete(tmp_path / "run", 16, resume=True)
    assert [line["step"] for line in history] == [4, 8, 12, 16]
    assert history[2]["bound"] != 0.0


@pytest.mark.parametrize("count", [None, 3])
def test_a_loaded_model_has_the_trained_parameters(tmp_path, count):
    result, _ = complete(tmp_path / "run", 8, count)
    member = 0 if count is None else 2
    loaded = jaxvae.load(tmp_path / "run", member=member)
    trained = training.members_of(result.params, count)[member]
    jax.tree.map(np.testing.assert_array_equal, loaded.params, trained)
    again = jaxvae.load(tmp_path / "run", member=member, model=recipe.build(RECIPE))
    jax.tree.map(np.testing.assert_array_equal, again.params, trained)


def test_a_trained_model_works_on_batches_as_the_model_does_on_one_example(tmp_path):
    complete(tmp_path / "run", 4)
    trained = jaxvae.load(tmp_path / "run")
    codes = trained.encode(jnp.asarray(ROWS[:6]))
    one = trained.model.posterior(trained.params, jnp.asarray(ROWS[3]), None)
    # Two layers, each a sum of at most five terms of order one.
    rounding = partial(np.testing.assert_allclose, rtol=0, atol=2 * 5 * np.finfo(np.float32).eps)
    rounding(codes.mean[3], one.mean)
    rounding(np.log(codes.variance[3]), np.log(one.variance))
    seen = trained.reconstruct(jnp.asarray(ROWS[:6]))
    expected = trained.model.likelihood(trained.params, one.mean, None).mean
    rounding(seen[3], expected)
    drawn = trained.sample(7, key=jax.random.key(1))
    assert drawn.shape == (7, 4)
    assert len(np.unique(np.asarray(drawn)[:, 0])) == 7


def test_a_folder_with_files_is_never_written_into(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with (
        pytest.raises(ValueError, match="empty or new folder"),
        training.open_run(tmp_path, Config()),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_resuming_with_another_configuration_names_the_fields(tmp_path):
    complete(tmp_path / "run", 4)
    changed = replace(Config(), rate=0.2, epochs=5)
    with (
        pytest.raises(ValueError, match=r"rate was 0\.1 and is 0\.2\. Start") as error,
        training.open_run(
            tmp_path / "run", changed, recipe=RECIPE, resume=True, may_change=("epochs",)
        ),
    ):
        pass
    assert "epochs" not in str(error.value)


def test_a_run_that_failed_before_its_first_step_leaves_its_folder_free(tmp_path):
    with (
        pytest.raises(RuntimeError),
        training.open_run(tmp_path / "run", Config(rate=1.0), recipe=RECIPE),
    ):
        raise RuntimeError
    complete(tmp_path / "run", 4)
    with (
        pytest.raises(ValueError, match="empty or new folder"),
        training.open_run(tmp_path / "run", Config()),
    ):
        pass


def test_a_refused_resumption_leaves_the_configuration_as_it_was(tmp_path):
    complete(tmp_path / "run", 8)
    before = (tmp_path / "run" / "config.json").read_text()
    fewer = replace(Config(), epochs=1)
    with (
        pytest.raises(ValueError, match="at least the 8 steps of the state, got 4"),
        training.open_run(
            tmp_path / "run", fewer, recipe=RECIPE, resume=True, may_change=("epochs",)
        ) as run,
    ):
        train(run, 4)
    assert (tmp_path / "run" / "config.json").read_text() == before


def test_the_times_of_all_parts_of_a_resumed_run_count(tmp_path):
    complete(tmp_path / "run", 8)
    with training.open_run(tmp_path / "run", Config(), recipe=RECIPE, resume=True) as run:
        found = training.training_metrics(train(run, 16), run.history())
        seconds = [line["chunk_steps"] / line["steps_per_second"] for line in run.history()]
    assert len(seconds) == 4
    assert found["steps"] == 16
    np.testing.assert_allclose(found["train_seconds"], sum(seconds))
    np.testing.assert_allclose(found["steps_per_second"], 16 / sum(seconds))


def test_a_checkpoint_keeps_the_kind_of_its_key(tmp_path):
    state = training.initial_state(
        lambda key: jnp.ones(2), optax.sgd(0.1), jax.random.key(0, impl="rbg")
    )
    with training.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state)
        restored = checkpoints.restore(state)
    assert jax.random.key_impl(restored.key) == jax.random.key_impl(state.key)
    np.testing.assert_array_equal(jax.random.key_data(restored.key), jax.random.key_data(state.key))


def test_there_must_be_something_to_resume(tmp_path):
    with (
        pytest.raises(ValueError, match=r"found no config\.json"),
        training.open_run(tmp_path / "none", Config(), resume=True),
    ):
        pass


def test_loading_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"the folder of a run with a model\.json"):
        jaxvae.load(tmp_path)
    with training.open_run(tmp_path / "empty", Config(), recipe=RECIPE):
        pass
    with pytest.raises(ValueError, match="expected a checkpoint in"):
        jaxvae.load(tmp_path / "empty")
    with pytest.raises(ValueError, match="expected a member below 1"):
        jaxvae.load(tmp_path / "empty", member=1)
    with training.open_run(tmp_path / "own", Config()):
        pass
    with pytest.raises(ValueError, match="pass it as model="):
        jaxvae.load(tmp_path / "own")
    (tmp_path / "own" / "model.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match=r"format 2 in .*, got 99"):
        jaxvae.load(tmp_path / "own")


def test_metrics_are_flat_with_a_spread_over_members_and_never_nan(tmp_path):
    with training.open_run(tmp_path / "run", Config()) as run:
        flat = run.save_metrics({"name": "x", "steps": 3, "bound": np.array([1.0, 2.0, 6.0])})
        assert flat == {
            "name": "x",
            "steps": 3,
            "bound": 3.0,
            "bound_sd": np.std([1, 2, 6], ddof=1),
        }
        assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == flat
        with pytest.raises(ValueError, match="got bound = nan"):
            run.save_metrics({"bound": float("nan")})
        assert "3 ± 2.6" in training.format_metrics(flat)


def test_the_digest_of_parameters_sees_every_bit():
    params = {"a": jnp.zeros(3), "b": jnp.ones(2)}
    digest = training.parameters_sha256(params)
    assert digest == training.parameters_sha256({"b": jnp.ones(2), "a": jnp.zeros(3)})
    assert digest != training.parameters_sha256({**params, "a": jnp.zeros(3).at[1].set(1e-30)})
    assert digest != training.parameters_sha256({"a": jnp.zeros(2), "b": jnp.ones(3)})


def test_a_run_cut_short_while_its_folder_was_made_can_begin_again(tmp_path):
    complete(tmp_path / "run", 4)
    for name in ("config.json", "log.jsonl"):
        (tmp_path / "run" / name).unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "config.json.new").write_text("{")
    complete(tmp_path / "run", 4)


def test_replacing_a_run_leaves_what_is_not_its_own(tmp_path):
    complete(tmp_path / "run", 4)
    (tmp_path / "run" / "notes.txt").write_text("years of work")
    complete(tmp_path / "run", 8, overwrite=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "years of work"
    # Another program's config.json is no run of ours.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="files that are no run of jaxvae"):
        complete(tmp_path / "other", 4, overwrite=True)


def test_a_run_of_another_format_is_not_resumed(tmp_path):
    complete(tmp_path / "run", 4)
    path = tmp_path / "run" / "model.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 1'))
    with pytest.raises(ValueError, match=r"format 2 in .*, got 1; load it with the version"):
        complete(tmp_path / "run", 8, resume=True)


def test_a_run_in_progress_is_not_disturbed(tmp_path):
    with training.open_run(tmp_path / "run", Config(), recipe=RECIPE) as run:
        train(run, 4)
        for options in ({}, {"overwrite": True}, {"resume": True}):
            with (
                pytest.raises(ValueError, match="a run is in progress in"),
                training.open_run(tmp_path / "run", Config(), recipe=RECIPE, **options),
            ):
                pass
        train(run, 8)
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["4", "8"]


def test_what_was_learnt_outlives_a_callback_that_fails(tmp_path):
    def unreachable(state, line):
        if line["step"] == 12:
            raise ConnectionError

    with (
        pytest.raises(ConnectionError),
        training.open_run(tmp_path / "run", Config(), recipe=RECIPE) as run,
    ):
        train(run, 20, callbacks=[unreachable])
    resumed, _ = complete(tmp_path / "run", 20, resume=True)
    whole, _ = complete(tmp_path / "whole", 20)
    assert training.parameters_sha256(resumed.params) == training.parameters_sha256(whole.params)
