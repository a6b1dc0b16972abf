import numpy as np
import pytest

from jaxvae import plotting

ANGLE = np.linspace(0, 6, 30)
TRUTH = np.stack([np.stack([np.cos(ANGLE), np.sin(ANGLE)], 1) * r for r in (1.0, 2.0)])
DOTS = TRUTH[:, 10:20:3] + 0.1
STATES = np.random.default_rng(0).normal(size=(5, 30, 3)) * [1.0, 5.0, 0.1]


def draw(found=None, truth=TRUTH, **options):
    found = {"model": 1.5 * TRUTH} if found is None else found
    return plotting.forecasts(found, truth, DOTS, window=(10, 20), **options)


def layers(panel):
    return {line.get_label(): line for line in panel.lines if line.get_label()[0] != "_"}


def test_each_model_has_a_panel_with_what_was_seen_and_what_was_not():
    blind = np.where((ANGLE[9] < ANGLE) & (ANGLE[20] > ANGLE), np.nan, 1.0)[None, :, None] * TRUTH
    first, second = draw({"a": 1.5 * TRUTH, "b": blind}).axes
    assert (first.get_title(), second.get_title()) == ("a", "b")
    assert set(layers(first)) == {"true", "observed", "reconstructed", "extrapolated"}
    assert set(layers(second)) == {"true", "observed", "extrapolated"}
    np.testing.assert_array_equal(layers(first)["true"].get_xydata(), TRUTH[0])
    np.testing.assert_array_equal(layers(first)["observed"].get_xydata(), DOTS[0])
    inside = layers(first)["reconstructed"].get_xydata()
    beyond = layers(first)["extrapolated"].get_xydata()
    np.testing.assert_array_equal(inside[10:20], 1.5 * TRUTH[0, 10:20])
    np.testing.assert_array_equal(np.isnan(inside[:, 0]), np.isfinite(beyond[:, 0]))


def test_a_forecast_that_runs_away_does_not_change_the_frame():
    frames = [draw({"a": factor * TRUTH}).axes[0].get_xlim() for factor in (1.0, 1000.0)]
    assert frames[0] == frames[1]
    assert frames[0][0] < TRUTH[..., 0].min() < TRUTH[..., 0].max() < frames[0][1]


def test_latent_paths_are_drawn_in_their_principal_plane_by_group():
    groups = {"left": np.arange(5) < 2, "right": np.arange(5) >= 2}
    panel = draw(states=STATES, groups=groups).axes[-1]
    assert set(layers(panel)) == {"left", "right"}
    colors = [line.get_color() for line in panel.lines]
    assert colors == [colors[0]] * 2 + [colors[2]] * 3
    drawn = np.concatenate([line.get_xydata() for line in panel.lines])
    # The longest axis is the second coordinate, the next one the first; signs are free.
    centred = STATES.reshape(-1, 3) - STATES.reshape(-1, 3).mean(0)
    for column, coordinate in ((0, 1), (1, 0)):
        correlation = np.corrcoef(drawn[:, column], centred[:, coordinate])[0, 1]
        assert abs(correlation) > 0.99
    assert "100%" in panel.texts[0].get_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"found": {}}, "one model or more, got none"),
        ({"window": (10, 200)}, r"within the 30 times, got \(10, 200\)"),
        ({"observed": TRUTH[0]}, r"observed \(2, point, 2\), got \(30, 2\)"),
        ({"states": STATES[..., 0]}, r"two coordinates or more, got shape \(5, 30\)"),
        ({"states": STATES[..., :1]}, r"two coordinates or more, got shape \(5, 30, 1\)"),
        ({"states": np.nan * STATES}, "nothing finite"),
        ({"groups": {"a": [True]}}, "states for the groups"),
        ({"states": STATES, "groups": {"a": [True]}}, r"group a \(5,\), got \(1,\)"),
        ({"states": STATES, "groups": {c: [True] * 5 for c in "abcdefgh"}}, "colours for 4"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    arguments = {
        "found": {"a": TRUTH},
        "truth": TRUTH,
        "observed": DOTS,
        "window": (10, 20),
    } | options
    with pytest.raises(ValueError, match=message):
        plotting.forecasts(**arguments)


def test_one_legend_names_each_once_and_paths_may_end_early():
    states = np.where(
        np.arange(30)[None, :, None] < 20 + np.arange(5)[:, None, None], STATES, np.nan
    )
    groups = {"left": np.arange(5) < 2, "right": np.arange(5) >= 2}
    figure = draw({"a": TRUTH, "b": TRUTH}, states=states, groups=groups)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["true", "observed", "reconstructed", "extrapolated", "left", "right"]
    assert "100%" in figure.axes[-1].texts[0].get_text()


def fill(found=None, **changes):
    wave = np.stack([np.sin(ANGLE), np.cos(ANGLE)])
    arguments = {"seen": wave > 0, "titles": ["a", "b"], "label": "hours"} | changes
    return plotting.interpolations(ANGLE, wave, wave + 0.1 if found is None else found, **arguments)


def test_what_was_seen_and_what_was_not_are_told_apart():
    figure = fill()
    first, second, unused = figure.axes
    assert (first.get_title(), second.get_title()) == ("a", "b")
    assert not unused.get_visible()
    values = np.sin(ANGLE)
    np.testing.assert_array_equal(layers(first)["mean"].get_ydata(), values + 0.1)
    np.testing.assert_array_equal(
        layers(first)["seen"].get_ydata(), np.where(values > 0, values, np.nan)
    )
    np.testing.assert_array_equal(
        layers(first)["not seen"].get_ydata(), np.where(values > 0, np.nan, values)
    )
    everything = fill(seen=np.ones((2, len(ANGLE)), bool)).axes[0]
    assert set(layers(everything)) == {"mean", "seen"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fill(np.zeros((2, 3))), r"found \(2, 30\), got \(2, 3\)"),
        (lambda: draw(truth=TRUTH[..., :1]), r"\(series, time, 2\), got \(2, 30, 1\)"),
        (lambda: draw(draws={"b": TRUTH[:, None]}), r"draws of .*, got b \(2, 1, 30, 2\)"),
        (lambda: draw(draws={"a": TRUTH[:1, None]}), r"draws of .*, got a \(1, 1, 30, 2\)"),
        (lambda: draw({"a": TRUTH[:1]}), r"of a in the shape of the truth, \(2, 30, 2\), got \(1"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
