"""Pictures are made of what they are given: values are read back from the axes."""
import matplotlib.pyplot as plt
import numpy as np
import pytest

from tinygen import plotting

SHAPE, D = (2, 3), 6


@pytest.fixture
def ax():
    fig, axes = plotting.figure(1, 1, (3, 2))
    yield axes[0, 0]
    fig.canvas.draw()
    plt.close(fig)


def pictures(ax, columns):
    """What `images` was given, read back: (rows, columns, D)"""
    grid = ax.images[0].get_array()
    H, W = SHAPE
    return np.array([[grid[r:r + H, c:c + W].reshape(-1)
                      for c in range(0, columns * (W + 1), W + 1)]
                     for r in range(0, len(grid), H + 1)])


def decode(z):
    """The first code in the first pixel, and so on."""
    return np.pad(z, ((0, 0), (0, D - z.shape[1])))


def test_a_curve_lies_amid_the_steps_that_it_averages(ax):
    plotting.curve(ax, np.arange(204.0), "loss", window=51)
    x, y = ax.lines[0].get_data()
    assert len(x) == 154 and np.allclose(x, y + 1)


def test_hangul_is_drawn_by_a_font_that_is_there_or_as_boxes_without_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.font_manager.get_font_names", lambda: ["Malgun Gothic", "A"])
    fig, _ = plotting.figure(1, 1, (3, 2))
    assert plt.rcParams["font.family"] == ["DejaVu Sans", "Malgun Gothic"]
    plt.close(fig)
    monkeypatch.setattr("matplotlib.font_manager.get_font_names", lambda: [])
    fig, axes = plotting.figure(1, 1, (3, 2))
    axes[0, 0].set(title="이름")
    plotting.save(fig, tmp_path, "a.png")                       # a warning would be an error


def test_a_traversal_moves_one_latent_in_each_row(ax):
    z = np.array([0.1, 0.2, 0.3])
    plotting.traversal(ax, decode, z, SHAPE, units=[2, 0], span=0.5, steps=5, title="z_i")
    shown = pictures(ax, 5)
    assert shown.shape == (2, 5, D)
    assert np.allclose(shown[0, :, 2], [-0.5, -0.25, 0, 0.25, 0.5])
    assert np.allclose(shown[0, :, :2], z[:2]) and np.allclose(shown[1, :, 1:3], z[1:])
    assert np.allclose(shown[1, :, 0], shown[0, :, 2]) and (z == [0.1, 0.2, 0.3]).all()


def test_a_traversal_shows_all_latents_unless_told(ax):
    plotting.traversal(ax, decode, np.zeros(4), SHAPE, steps=3)
    assert pictures(ax, 3).shape == (4, 3, D)


def test_an_interpolation_goes_straight_from_start_to_end(ax):
    starts, ends = np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([[1.0, 0.0], [0.5, 0.9]])
    plotting.interpolation(ax, decode, starts, ends, SHAPE, steps=3, title="paths")
    shown = pictures(ax, 3)
    assert np.allclose(shown[:, 0, :2], starts) and np.allclose(shown[:, 2, :2], ends)
    assert np.allclose(shown[:, 1, :2], (starts + ends) / 2)


def test_codebook_usage_is_sorted_beside_an_even_use(ax):
    plotting.codebook_usage(ax, np.array([0.1, 0.6, 0.0, 0.3]), title="codes")
    assert [bar.get_height() for bar in ax.patches] == [0.6, 0.3, 0.1, 0.0]
    assert ax.lines[0].get_ydata()[0] == 0.25


def test_contours_put_each_value_where_its_point_is(ax):
    """D = sigmoid(4 x): the line .5 of the exact one runs through x = 0, at every y."""
    plane = np.stack(np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5)), -1).reshape(-1, 2)
    D = 1 / (1 + np.exp(-4 * plane[:, 0]))
    plotting.contours(ax, plane, D, D, title="D")
    filled, lines = ax.collections
    assert np.allclose(lines.levels, [0.1, 0.3, 0.5, 0.7, 0.9]) and len(filled.levels) == 11
    middle = lines.get_paths()[2].vertices
    assert np.allclose(middle[:, 0], 0) and {-1.0, 1.0} <= set(middle[:, 1])


@pytest.mark.parametrize("strength", [np.array([[0, 0, 0], [0.1, 0, 0], [10, 1, 0]]),
                                      np.zeros((2, 2))])
def test_a_dependency_map_has_a_row_for_each_output_and_0_left_white(strength, ax):
    plotting.dependency_map(ax, strength, title="who sees whom")
    shown = ax.images[0].get_array()
    assert (np.ma.getmaskarray(shown) == (strength == 0)).all()
    assert np.allclose(10.0 ** shown.compressed(), strength[strength > 0])
    ax.figure.canvas.draw()
