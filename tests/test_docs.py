"""The pages on distributions list what exists, neither more nor less."""

import dataclasses
import re
from functools import partial
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae import distributions
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.divergence.combined import COMBINATORS
from jaxvae.distributions.divergence.kl import _CLOSED_FORMS

DOCS = Path(__file__).parents[1] / "docs"
FAMILIES = {
    name: family
    for name, family in vars(distributions).items()
    if dataclasses.is_dataclass(family)
    and hasattr(family, "log_prob")
    and family is not distributions.Batch
}


def rows(page):
    """The cells of all tables of a page; no cell of ours holds a bar."""
    lines = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(cell):
    return re.findall(r"`(\w+)`", cell)


DESCRIBED = {names(row[0])[0]: row for row in rows("distributions.md") if names(row[0])}


def test_every_distribution_has_one_row():
    listed = [names(row[0]) for row in rows("distributions.md") if names(row[0])]
    assert sorted(name for cell in listed for name in cell) == sorted(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_tells_the_fields_and_what_is_in_closed_form(name):
    family, (_, fields, _, noise, cdf, entropy, _) = FAMILIES[name], DESCRIBED[name]
    assert names(fields) == [field.name for field in dataclasses.fields(family)]
    assert cdf == ("yes" if hasattr(family, "cdf") else "no")
    own = getattr(family, "entropy_by_factor", None) not in (None, Factorised.entropy_by_factor)
    direct = getattr(family, "entropy", Factorised.entropy) is not Factorised.entropy
    assert (entropy != "no") == (own or direct)
    if issubclass(family, Explicit):
        assert "$" in noise
        assert "implicit" not in noise


def test_every_pair_with_a_closed_form_is_listed_and_no_other():
    listed = set()
    for first, second, *_ in rows("divergences.md"):
        pair = re.fullmatch(r"`(\w+)` to `(\w+)`", first)
        cells = ([pair[1]], [pair[2]]) if pair else (names(first), names(second))
        listed |= set(product(*cells))
    pairs = [*_CLOSED_FORMS, *((family, family) for family in COMBINATORS)]
    assert listed == {(q.__name__, p.__name__) for q, p in pairs}


def blocks(page, after=""):
    text = (DOCS / page).read_text()
    return re.findall(r"```python\n(.*?)```", text[text.index(after) :], re.DOTALL)


def test_the_parts_of_a_model_fit_together():
    names: dict = {}
    for block in blocks("models.md"):
        exec(block, names)
    encoder, (model, params), classes = names["encoder"], names["trained"], names["classes"]
    assert encoder.apply(encoder.init(jax.random.key(0)), jnp.ones(20)).shape == (6,)
    assert names["trained"].encode(names["x"], classes).mean.shape == (8, 3)
    # Every part sees the class: the same numbers under two classes are two distributions.
    first, second = classes[:2]
    for part in (partial(model.posterior, params, jnp.ones(20)), partial(model.prior, params)):
        assert not np.allclose(part(first).mean, part(second).mean)


def test_the_model_of_ones_own_trains_and_is_evaluated(quick_compilation):
    names: dict = {}
    for block in blocks("estimators.md", after="## A model of"):
        exec(block, names)
    history = names["result"].history
    assert history[-1]["bound"] > history[0]["bound"]
    # 64 independent bits of probability 0.3 are all there is to learn.
    assert abs(names["weights"].log_likelihood.mean() + 64 * 0.6109) < 4
    assert (names["report"]["inference"].signal_to_noise > 0).all()
