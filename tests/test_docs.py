"""The pages on distributions list what exists, neither more nor less."""

import dataclasses
import re
from itertools import product
from pathlib import Path

import pytest

from jaxvae import distributions
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.divergence.combined import COMBINATORS
from jaxvae.distributions.divergence.kl import _CLOSED_FORMS

DOCS = Path(__file__).parents[1] / "docs"
LAWS = {
    name: law
    for name, law in vars(distributions).items()
    if dataclasses.is_dataclass(law) and hasattr(law, "log_prob")
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
    assert sorted(name for cell in listed for name in cell) == sorted(LAWS)


@pytest.mark.parametrize("name", LAWS)
def test_a_row_tells_the_fields_and_what_is_in_closed_form(name):
    law, (_, fields, _, noise, cdf, entropy, _) = LAWS[name], DESCRIBED[name]
    assert names(fields) == [field.name for field in dataclasses.fields(law)]
    assert cdf == ("yes" if hasattr(law, "cdf") else "no")
    own = getattr(law, "entropy_by_factor", None) not in (None, Factorised.entropy_by_factor)
    direct = getattr(law, "entropy", Factorised.entropy) is not Factorised.entropy
    assert (entropy != "no") == (own or direct)
    if issubclass(law, Explicit):
        assert "$" in noise
        assert "implicit" not in noise


def test_every_pair_with_a_closed_form_is_listed_and_no_other():
    listed = set()
    for first, second, *_ in rows("divergences.md"):
        pair = re.fullmatch(r"`(\w+)` to `(\w+)`", first)
        cells = ([pair[1]], [pair[2]]) if pair else (names(first), names(second))
        listed |= set(product(*cells))
    pairs = [*_CLOSED_FORMS, *((law, law) for law in COMBINATORS)]
    assert listed == {(q.__name__, p.__name__) for q, p in pairs}


def test_links_between_pages_exist():
    for page in ("distributions.md", "divergences.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (DOCS / page).read_text()):
            assert (DOCS / target).exists(), target


def test_the_model_of_ones_own_trains_and_is_evaluated(quick_compilation):
    page = (DOCS / "estimators.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page[page.index("## A model of") :], re.DOTALL)
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 3
    history = names["result"].history
    assert history[-1]["bound"] > history[0]["bound"]
    # 64 independent bits of probability 0.3 are all there is to learn.
    assert abs(names["weights"].log_likelihood.mean() + 64 * 0.6109) < 4
    assert (names["report"]["inference"].signal_to_noise > 0).all()
