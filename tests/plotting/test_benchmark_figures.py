import numpy as np
import pytest

from jaxvae import plotting

CURVES = {"a": [(1e-2, 3.0), (1e-6, 5.0), (1e-4, 4.0)], "b": [(1e-3, 1.0)]}


def test_each_problem_has_a_logarithmic_panel_with_its_curves_in_order_of_the_error():
    panels = {"one": CURVES, "two": {"b": [(1.0, 2.0)]}, "three": {}, "four": CURVES}
    figure = plotting.work_precision(panels, labels=("error", "seconds"))
    assert [axes.get_title() for axes in figure.axes] == list(panels)
    for axes in figure.axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("error", "seconds")
    line = figure.axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [1e-6, 1e-4, 1e-2])
    np.testing.assert_array_equal(line.get_ydata(), [5.0, 4.0, 3.0])


def test_a_method_looks_the_same_in_all_panels_and_is_named_once():
    figure = plotting.work_precision({"one": CURVES, "two": {"b": [(1.0, 2.0)]}}, labels=("", ""))
    first, second = (axes.lines[-1] for axes in figure.axes)
    assert first.get_color() == second.get_color()
    assert first.get_marker() == second.get_marker()
    assert first.get_color() != figure.axes[0].lines[0].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_memory_is_drawn_in_mebibytes_against_steps():
    figure = plotting.memory_against_steps({"p": {"a": [(1000, 2**21), (100, 2**20)]}})
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps", "temporary memory (MiB)")
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [100, 1000])
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1.0, 2.0])


def test_limits_are_powers_of_ten():
    panels = {"near": {"a": [(2e-3, 0.5), (4e-3, 20.0)]}}
    axes = plotting.work_precision(panels, labels=("", "")).axes[0]
    np.testing.assert_allclose(axes.get_xlim(), (1e-3, 1e-2))
    np.testing.assert_allclose(axes.get_ylim(), (1e-1, 1e2))


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_the_legend_fits_into_the_figure(number):
    names = [f"Backsolve seminorm, Kvaerno{n}" for n in range(12)]
    panels = {f"panel {n}": {name: [(0.1, 0.2)] for name in names} for n in range(number)}
    figure = plotting.work_precision(panels, labels=("", ""))
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


def test_nothing_to_draw_and_points_that_are_no_pairs_are_refused():
    with pytest.raises(ValueError, match="at least one panel"):
        plotting.work_precision({}, labels=("", ""))
    with pytest.raises(ValueError, match="memory_against_steps expected at least one panel"):
        plotting.memory_against_steps({})
    with pytest.raises(ValueError, match=r"points \(number, 2\), got \(3,\) for a"):
        plotting.memory_against_steps({"p": {"a": [1.0, 2.0, 3.0]}})
