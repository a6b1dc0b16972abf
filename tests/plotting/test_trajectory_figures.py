import numpy as np
import pytest

from jaxvae import plotting

PATH = np.stack([np.cos(np.linspace(0, 6, 50)), np.sin(np.linspace(0, 6, 50))], axis=1)
LABELS = ("epoch", "error")


def fit(errors, **changes):
    arguments = {"truth": PATH, "learnt": 2 * PATH, "progress": [1.0, 2.0]} | changes
    return plotting.trajectory_fit(**arguments, errors=errors, labels=LABELS, title="Circle")


def test_both_trajectories_are_drawn_with_equal_scales():
    plane = fit([[1.0], [0.1]]).axes[0]
    assert plane.get_aspect() == 1.0
    np.testing.assert_array_equal(plane.lines[0].get_xydata(), PATH)
    np.testing.assert_array_equal(plane.lines[1].get_xydata(), 2 * PATH)
    np.testing.assert_array_equal(plane.lines[2].get_xydata(), PATH[:1])


def test_errors_of_several_seeds_are_a_geometric_mean_and_a_range():
    curve = fit([[1.0, 100.0], [0.01, 1.0]]).axes[1]
    np.testing.assert_allclose(curve.lines[0].get_xydata(), [[1.0, 10.0], [2.0, 0.1]])
    band = curve.collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in band} == {(1, 1), (1, 100), (2, 0.01), (2, 1)}
    assert curve.get_yscale() == "log"


def test_dots_stand_at_their_values_with_the_first_name_on_top():
    panels = {"time": [1.0, 30.0], "memory": [0.5, 0.1]}
    figure = plotting.dot_panels(["a_b", "c"], panels, title="Compared")
    for axes, (label, values) in zip(figure.axes, panels.items(), strict=True):
        assert axes.get_xlabel() == label
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), np.transpose([values, [0, 1]]))
        low, high = axes.get_xlim()
        assert low < min(values) < max(values) < high
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a b", "c"]
    bottom, top = figure.axes[0].get_ylim()
    assert bottom > top


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: fit([1.0, 0.1]), r"errors \(lines, seeds\)"),
        (lambda: fit([[1.0]] * 3), r"got \(3, 1\) and \(2,\)"),
        (lambda: fit([[1.0], [0.1]], learnt=PATH.T), r"got \(50, 2\) and \(2, 50\)"),
        (lambda: plotting.dot_panels(["a"], {"t": [1.0, 2.0]}, title=""), "expected 1 positive"),
        (lambda: plotting.dot_panels(["a"], {"t": [0.0]}, title=""), "expected 1 positive"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
