import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jaxvae import plotting
from jaxvae.plotting.images import mosaic


def pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("L"), float) / 255


def test_the_mosaic_places_images_row_by_row_with_a_line_between():
    images = np.arange(1, 6, dtype=float)[:, None, None] * np.ones((5, 2, 3))
    canvas = mosaic(images, columns=2)
    assert canvas.shape == (3 * 3 - 1, 2 * 4 - 1)
    assert [canvas[0, 0], canvas[0, 4], canvas[3, 0], canvas[3, 4], canvas[6, 0]] == [1, 2, 3, 4, 5]
    assert canvas[2].sum() == 0
    assert canvas[:, 3].sum() == 0
    assert canvas[6, 4] == 0


def test_ink_is_black_on_white():
    dark = pixels(plotting.image_grid(np.ones((4, 8, 8)), columns=2))
    light = pixels(plotting.image_grid(np.zeros((4, 8, 8)), columns=2))
    assert dark.mean() < 0.2
    assert light.mean() > 0.95


def test_colour_images_keep_their_colours():
    red = np.zeros((4, 8, 8, 3))
    red[..., 0] = 1.0
    figure = plotting.image_grid(red, columns=2)
    shown = figure.axes[0].get_images()[0].get_array()
    np.testing.assert_array_equal(shown[0, 0], [1.0, 0.0, 0.0])


def test_reconstructions_stand_below_their_originals():
    originals = np.full((4, 2, 2), 0.2)
    figure = plotting.reconstructions(originals, originals + 0.5, columns=2)
    canvas = figure.axes[0].get_images()[0].get_array()
    np.testing.assert_allclose(canvas[::3, 0], [0.2, 0.7, 0.2, 0.7])


def test_fewer_images_than_columns_are_shown_in_one_row():
    figure = plotting.reconstructions(np.zeros((3, 2, 2)), np.ones((3, 2, 2)), columns=10)
    assert figure.axes[0].get_images()[0].get_array().shape == (5, 8)


def test_the_latent_grid_reads_like_the_plane():
    grid = plotting.latent_grid(size=3, extent=2.0).reshape(3, 3, 2)
    np.testing.assert_allclose(grid[0, 0], [-2.0, 2.0])
    np.testing.assert_allclose(grid[-1, -1], [2.0, -2.0])
    np.testing.assert_allclose(grid[1, :, 0], [-2.0, 0.0, 2.0])


def test_a_latent_path_changes_one_dimension_only():
    paths = plotting.latent_paths(np.array([1.0, 2.0, 3.0]), [2, 0], steps=5, extent=4.0)
    assert paths.shape == (2, 5, 3)
    np.testing.assert_allclose(paths[0, :, 2], np.linspace(-4, 4, 5))
    np.testing.assert_allclose(paths[0, :, :2], np.tile([1.0, 2.0], (5, 1)))
    np.testing.assert_allclose(paths[1, :, 1:], np.tile([2.0, 3.0], (5, 1)))


def test_the_curve_shows_mean_and_spread_over_seeds():
    history = [
        {"epoch": e, "bound": [-2.0 / e, -4.0 / e], "held_out_bound": [-5, -7]} for e in (1, 2)
    ]
    axes = plotting.elbo_curve(history).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [-3.0, -1.5])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [-6.0, -6.0])
    assert len(axes.collections) == 2
    assert axes.get_ylim()[0] < -7


def test_scatter_colours_points_by_label():
    means = np.random.default_rng(0).normal(size=(20, 2))
    points = plotting.latent_scatter(means, np.arange(20) % 4).axes[0].collections[0]
    np.testing.assert_allclose(points.get_offsets(), means)
    np.testing.assert_array_equal(points.get_array(), np.arange(20) % 4)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plotting.image_grid(np.zeros((4, 64))), "reshape rows of pixels"),
        (lambda: plotting.reconstructions(np.zeros((2, 4, 4)), np.zeros((3, 4, 4))), "one shape"),
        (lambda: plotting.traversals(np.zeros((2, 3, 4, 4)), labels=["z1"]), "2 labels, got 1"),
        (lambda: plotting.image_grid(np.zeros((0, 8, 8))), r"got \(0, 8, 8\)"),
        (lambda: plotting.image_grid(np.zeros((4, 8, 8, 2))), "last axis of 3"),
        (lambda: plotting.latent_scatter(np.zeros((5, 3))), "choose two dimensions"),
        (lambda: plotting.manifold(np.zeros((5, 4, 4))), "square number of images, got 5"),
        (lambda: plotting.elbo_curve([]), "at least one log record"),
    ],
)
def test_wrong_shapes_are_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_records_without_a_held_out_bound_and_stopped_seeds_leave_gaps():
    history = [
        {"epoch": 1.0, "bound": [-3.0, -5.0], "held_out_bound": [-4.0, -6.0]},
        {"epoch": 1.5, "bound": [-2.0, None]},
        {"epoch": 2.0, "bound": [-1.0, None], "held_out_bound": [-2.0, -6.0]},
    ]
    training, held_out = plotting.elbo_curve(history, held_out="test").axes[0].get_lines()
    np.testing.assert_array_equal(training.get_xydata(), [[1, -4], [1.5, -2], [2, -1]])
    np.testing.assert_array_equal(held_out.get_xydata(), [[1, -5], [2, -4]])


def test_labels_may_be_names():
    figure = plotting.latent_scatter(np.eye(2).repeat(2, axis=0), ["cat", "dog", "ant", "cat"])
    ticks = [tick.get_text() for tick in figure.axes[1].get_yticklabels()]
    assert ticks == ["ant", "cat", "dog"]
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_array(), [1, 2, 0, 1])
