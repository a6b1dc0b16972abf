import re
from pathlib import Path

import jax
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
PAGES = {page: page.read_text() for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}


@pytest.fixture(scope="module")
def names(tmp_path_factory, quick_compilation):
    """What the blocks define that are a session of their own: all but that of the ODE."""
    found: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("session"))
        for block in EXAMPLES[:-1]:
            exec(block, found)
    return found


def log_density(rows, loadings):
    """log N(x; 0, W'W + I) of each row: the density that the README draws its rows from."""
    covariance = loadings.T @ loadings + np.eye(loadings.shape[1])
    _, log_det = np.linalg.slogdet(2 * np.pi * covariance)
    distances = np.einsum("ni,ij,nj->n", rows, np.linalg.inv(covariance), rows)
    return -0.5 * (log_det + distances)


def test_the_model_of_ones_own_data_trains_to_the_entropy_of_the_data(names):
    history, dim = names["result"].history, names["loadings"].shape[1]
    covariance = names["loadings"].T @ names["loadings"] + np.eye(dim)
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
    assert abs(np.mean([record["bound"] for record in history[-5:]]) + entropy) < 0.5
    assert history[0]["bound"] < history[-1]["bound"]


def test_the_loaded_model_encodes_reconstructs_samples_and_scores(names):
    assert names["codes"].shape == (200, 3)
    assert names["reconstructions"].shape == (200, 20)
    assert names["samples"].shape == (64, 20)
    truth = log_density(names["test"], names["loadings"]).mean()
    score = float(names["score"].log_likelihood.mean())
    # The README tells both; another processor takes another path to the same optimum.
    assert abs(score - truth) < 0.3
    assert f"{-truth:.2f}" in README
    # What is left of the noise after three latents are known, and what they explain.
    assert np.mean((names["test"] - names["reconstructions"]) ** 2) < 1.2
    assert names["test"].var() > 3


def test_the_sweep_trains_every_rate_with_every_seed(names):
    assert names["bounds"].shape == (3, 3)
    bounds = names["bounds"].mean(axis=1)
    assert bounds[1] > bounds[0]  # the smallest rate has not arrived after so few steps
    shapes = [jax.tree.map(np.shape, params) for params in (names["best"], names["result"].params)]
    assert shapes[0] == shapes[1]


def test_the_solution_of_the_linear_equation_is_the_matrix_exponential():
    found: dict = {}
    exec(EXAMPLES[-1], found)
    a, times = np.asarray(found["a"], float), np.asarray(found["times"], float)
    values, vectors = np.linalg.eig(a)
    start = np.linalg.solve(vectors, np.asarray(found["z0"], float))
    exact = (np.exp(times[:, None] * values) * start) @ vectors.T
    # A tolerance of 1e-5 of each step, over the fifty or so that 25 units of time take.
    np.testing.assert_allclose(found["path"], exact.real, rtol=0, atol=5e-4)


def is_program(folder, name):
    module = ROOT / folder / name
    return module.with_suffix(".py").exists() or (module / "__main__.py").exists()


def anchors(page):
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page):
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)", PAGES[page]):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found.read_text()), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_exists(page):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([\w-]+)", PAGES[page], flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
    for folder, name in re.findall(r"-m (experiments|benchmarks)\.([a-z_]+)", PAGES[page]):
        assert is_program(folder, name), name


def test_every_row_of_the_results_names_an_experiment():
    rows = re.findall(r"^\| \[.*\]\(docs/results.md#.*\) \| `(\w+)` \|", README, re.MULTILINE)
    assert len(rows) == 15
    for name in rows:
        assert is_program("experiments", name), name


def test_the_package_names_the_extras_that_the_readme_explains():
    project = (ROOT / "pyproject.toml").read_text()
    extras = re.findall(r"^\| `jaxvae\[(\w+)\]`", README, flags=re.MULTILINE)
    assert len(extras) == 5
    for extra in extras:
        assert f"\n{extra} = [" in project
