import numpy as np
import pytest

from jaxvae import plotting

GRID = np.linspace(-1.0, 1.0, 21)


def shown_of(samples, **changes):
    shown = plotting.SampledDistribution(
        title="distribution",
        samples=samples,
        grid=GRID,
        density=np.full(21, 0.25),
        gradient="",
        exact=2.0,
        estimates={"one": (2.1, 0.1), "other": (1.8, 0.4)},
        remark="",
    )
    return shown._replace(**changes)


def test_each_density_has_a_panel_over_the_same_samples():
    samples = np.random.default_rng(0).normal(size=500)
    figure = plotting.density_fits(samples, GRID, {"a": GRID**2, "b": GRID + 1})
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), GRID**2)
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), GRID + 1)
    for axes in figure.axes:
        area = sum(bar.get_width() * bar.get_height() for bar in axes.patches)
        np.testing.assert_allclose(area, 1.0)


def test_marked_values_stand_where_they_are():
    axes = plotting.objective_curve(
        GRID, {"f": GRID, "g": GRID}, marked={"here": 0.25, "there": -0.5}, labels=("x", "y")
    ).axes[0]
    assert [line.get_xdata()[0] for line in axes.lines[2:]] == [0.25, -0.5]


def test_a_path_is_drawn_up_to_where_it_leaves_the_grid():
    paths = [np.array([0.5, -0.8, 1.3, -0.1]), np.array([0.5, 0.25, 0.1, 0.0])]
    figure = plotting.descent_paths(GRID, GRID**2, paths, [p**2 for p in paths], ["a", "b"])
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_xdata(), [0.5, -0.8])
    np.testing.assert_array_equal(figure.axes[1].lines[1].get_xdata(), paths[1])


def test_error_curves_show_means_and_the_middle_eight_tenths():
    inside = np.linspace(0.0, 1.0, 101)[None] * np.array([[1.0], [2.0]])
    axes = plotting.error_curves(
        [10, 20], inside, inside + 3, limit=[1.0, 1.5], label="points", title=""
    ).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.5, 1.0])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [3.5, 4.0])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([band.min(), band.max()], [0.1, 1.8])


def test_fitted_curves_pair_points_truths_and_fits():
    x, y = np.arange(3.0), np.arange(6.0).reshape(2, 3)
    figure = plotting.fitted_curves((x, y), GRID, [GRID, -GRID], [{"d": GRID}] * 2, ["a", "b"])
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), y[1])
    np.testing.assert_array_equal(figure.axes[1].lines[1].get_ydata(), -GRID)


def test_histogram_heights_are_densities_of_all_samples():
    # Half of the samples are beyond the range: what is shown has half the area.
    samples = np.concatenate([np.linspace(-1, 1, 1001), np.full(1001, 7.0)])
    axes = plotting.sampled_distributions([shown_of(samples)]).axes[0]
    heights, edges, _ = axes.patches[0].get_data()
    np.testing.assert_allclose(np.sum(heights * np.diff(edges)), 0.5)


def test_estimates_carry_two_standard_errors():
    axes = plotting.sampled_distributions([shown_of(GRID)] * 3, columns=2).axes[1]
    spans = [bar.get_segments()[0][:, 0] for bar in axes.collections]
    np.testing.assert_allclose(spans, [[1.9, 2.3], [1.0, 2.6]])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plotting.density_fits(GRID, GRID, {}), "at least one density"),
        (lambda: plotting.sampled_distributions([]), "at least one distribution"),
        (lambda: plotting.descent_paths(GRID, GRID, [GRID], [], ["a"]), "got 1, 0 and 1"),
        (lambda: plotting.fitted_curves((GRID, GRID), GRID, [GRID], [], []), "got 1, 0 and 0"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
