"""Each augmentation against a slow one, image by image, in NumPy and SciPy, which draws the same numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from pam.data import augment
from pam.data.augment import AUGMENTATIONS

COUNT, CHANNELS = 6, 2


def batch(size: tuple[int, int], seed: int, background: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth heads with lesions, `background` around them."""
    generator = np.random.default_rng(seed)
    y, x = np.meshgrid(*(np.linspace(-1, 1, length) for length in size), indexing="ij")
    waves = generator.uniform(1, 3, (COUNT, CHANNELS, 1, 1))
    images = 1 + np.sin(waves * x) * np.cos(waves * y) + generator.uniform(0, 1, (COUNT, CHANNELS, 1, 1))
    images = np.where(np.hypot(x, y) < 0.9, images, background)
    masks = np.hypot(x - generator.uniform(-0.4, 0.4, (COUNT, 1, 1)), y) < 0.35
    return torch.from_numpy(images.astype(np.float32)), torch.from_numpy(masks.astype(np.uint8))


def generators(seed: int) -> tuple[torch.Generator, torch.Generator]:
    return torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)


def uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    return (low + (high - low) * torch.rand(shape, generator=generator)).double().numpy()


SIZES = pytest.mark.parametrize("size", [(24, 24), (20, 32)])
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


@SIZES
@SEEDS
@pytest.mark.parametrize("name", ["horizontal_flip", "vertical_flip"])
@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_flips(name, size, seed, probability):
    images, masks = batch(size, seed)
    first, second = generators(seed)
    found = AUGMENTATIONS.get(name)(images, masks, first, probability=probability)
    flip = np.fliplr if name == "horizontal_flip" else np.flipud
    for i, draw in enumerate(torch.rand(COUNT, generator=second)):
        for channel in range(CHANNELS):
            before = images[i, channel].numpy()
            assert np.array_equal(found[0][i, channel], flip(before) if draw < probability else before)
        assert np.array_equal(found[1][i], flip(masks[i].numpy()) if draw < probability else masks[i])


@SIZES
@SEEDS
def test_quarter_turns(size, seed):
    images, masks = batch(size, seed)
    first, second = generators(seed)
    found = augment.quarter_turns(images, masks, first)
    step = 1 if size[0] == size[1] else 2
    for i, draw in enumerate(torch.randint(4 // step, (COUNT,), generator=second).tolist()):
        assert np.array_equal(found[0][i], np.rot90(images[i].numpy(), draw * step, (1, 2)))
        assert np.array_equal(found[1][i], np.rot90(masks[i].numpy(), draw * step))


@SEEDS
@pytest.mark.parametrize("spread", [0.0, 0.25, 0.6])
def test_intensity_scale(seed, spread):
    images, masks = batch((24, 24), seed)
    first, second = generators(seed)
    found, _ = augment.intensity_scale(images, masks, first, spread=spread)
    factors = uniform(second, (COUNT, CHANNELS), 1 - spread, 1 + spread)
    for i in range(COUNT):
        for channel in range(CHANNELS):
            assert np.allclose(found[i, channel], images[i, channel].numpy() * factors[i, channel], atol=1e-5)


@SEEDS
@pytest.mark.parametrize("spread", [0.0, 0.1, 2.0])
def test_intensity_shift(seed, spread):
    images, masks = batch((24, 24), seed)
    first, second = generators(seed)
    found, _ = augment.intensity_shift(images, masks, first, spread=spread)
    shifts = uniform(second, (COUNT, CHANNELS), -spread, spread)
    for i in range(COUNT):
        for channel in range(CHANNELS):
            before = images[i, channel].numpy()
            assert np.allclose(found[i, channel], before + (before != 0) * shifts[i, channel], atol=1e-5)


@SEEDS
@pytest.mark.parametrize("deviation", [0.0, 0.1, 1.0])
def test_gaussian_noise(seed, deviation):
    images, masks = batch((24, 24), seed)
    first, second = generators(seed)
    found, _ = augment.gaussian_noise(images, masks, first, deviation=deviation)
    deviations = uniform(second, (COUNT,), 0, deviation)
    noise = torch.randn(images.shape, generator=second).numpy()
    for i in range(COUNT):
        before = images[i].numpy()
        assert np.allclose(found[i], before + (before != 0) * deviations[i] * noise[i], atol=1e-5)


def sampled(image: np.ndarray, rows: np.ndarray, columns: np.ndarray, outside: float) -> np.ndarray:
    """Bilinear, image by image; half a pixel beyond the border the values go over into `outside`."""
    padded = np.pad(image.astype(float), 2, constant_values=outside)
    inside = [np.clip(place + 2, 0, length - 1) for place, length in zip((rows, columns), padded.shape, strict=True)]
    return map_coordinates(padded, inside, order=1, mode="nearest")


def check_sampled(images, masks, found, places, background):
    """The augmented batch against SciPy at these places (rows, columns) of each image."""
    for i, (rows, columns) in enumerate(places):
        for channel in range(CHANNELS):
            expected = sampled(images[i, channel].numpy(), rows, columns, background)
            assert np.abs(found[0][i, channel].numpy() - expected).max() < 2e-4
        share = sampled(masks[i].numpy(), rows, columns, 0)
        sure = np.abs(share - 0.5) > 0.499  # all four neighbours agree: nearest is what bilinear is
        assert np.array_equal(found[1][i].numpy()[sure], share[sure] > 0.5)
        assert sure.mean() > 0.8


@SIZES
@SEEDS
@pytest.mark.parametrize("background", [0.0, -0.75])
@pytest.mark.parametrize("strength", [{}, {"degrees": 90.0, "zoom": 0.4, "move": 0.2}])
def test_affine(size, seed, background, strength):
    images, masks = batch(size, seed, background)
    first, second = generators(seed)
    found = augment.affine(images, masks, first, **strength)
    strength = {"degrees": 15.0, "zoom": 0.1, "move": 0.05, **strength}
    angles = np.deg2rad(uniform(second, (COUNT,), -strength["degrees"], strength["degrees"]))
    zooms = uniform(second, (COUNT,), 1 - strength["zoom"], 1 + strength["zoom"])
    moves = uniform(second, (COUNT, 2), -strength["move"], strength["move"]) * (size[1], size[0])  # x, y in pixels
    middle = np.array(size)[:, None, None] / 2 - 0.5
    offset = np.indices(size) - middle  # y, x in pixels: a rotation in pixels keeps angles
    places = []
    for angle, zoom, (right, down) in zip(angles, zooms, moves, strict=True):
        y = (np.cos(angle) * offset[0] + np.sin(angle) * offset[1]) / zoom + down
        x = (np.cos(angle) * offset[1] - np.sin(angle) * offset[0]) / zoom + right
        places.append((y + middle[0], x + middle[1]))
    check_sampled(images, masks, found, places, background)


def cubic(knots: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Bicubic convolution (a = −0.75) of a line of knots at positions in knots, border repeated."""
    left = np.floor(at).astype(int)
    total = np.zeros(at.shape)
    for tap in range(-1, 3):
        x = np.abs(at - left - tap)
        near = (1.25 * x - 2.25) * x * x + 1
        far = ((-0.75 * x + 3.75) * x - 6) * x + 3
        weight = np.where(x <= 1, near, np.where(x < 2, far, 0))
        total += weight * knots[np.clip(left + tap, 0, len(knots) - 1)]
    return total


@SIZES
@SEEDS
@pytest.mark.parametrize("strength", [{}, {"bend": 0.1, "knots": 3}])
def test_elastic(size, seed, strength):
    images, masks = batch(size, seed)
    first, second = generators(seed)
    found = augment.elastic(images, masks, first, **strength)
    bend, knots = {"bend": 0.03, "knots": 5, **strength}.values()
    drawn = uniform(second, (COUNT, 2, knots, knots), -bend, bend)
    ways = [np.linspace(0, knots - 1, length) for length in size]
    places = []
    for field in drawn:  # x, then y, as shares of the image
        bent = []
        for axis, component in ((1, field[0]), (0, field[1])):
            along = np.stack([cubic(row, ways[1]) for row in component])
            bent.append((axis, np.stack([cubic(column, ways[0]) for column in along.T]).T * size[axis]))
        (_, right), (_, down) = bent
        rows, columns = np.indices(size).astype(float)
        places.append((rows + down, columns + right))
    check_sampled(images, masks, found, places, 0.0)


@pytest.mark.parametrize("name", ["affine", "elastic"])
@pytest.mark.parametrize("background", [0.0, -0.75])
def test_what_comes_in_from_outside_is_background_not_grey(name, background):
    images, masks = batch((24, 24), 0, background)
    strong = {"affine": {"zoom": 0.5, "move": 0.3}, "elastic": {"bend": 0.3}}[name]
    changed, _ = AUGMENTATIONS.get(name)(images, masks, torch.Generator().manual_seed(0), **strong)
    assert torch.allclose(changed[..., 0, 0][changed[..., 0, 0] < 0.4], torch.tensor(background))
    if background:
        assert not (changed == 0).any()


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_background_stays_background_through_all_augmentations_together(name):
    """No number of steps turns the zero around a head into something that a network could learn from."""
    images, masks = batch((24, 24), 1)
    generator = torch.Generator().manual_seed(1)
    for step in (name, "intensity_shift", "gaussian_noise", "intensity_scale"):
        images, masks = AUGMENTATIONS.get(step)(images, masks, generator)
    corners = images[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 0).all()


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_an_augmentation_works_where_its_images_are(name):
    """On PyTorch's device without memory: an operation that mixes it with the CPU's tensors is an error."""
    images, masks = batch((24, 24), 0)
    found = AUGMENTATIONS.get(name)(images.to("meta"), masks.to("meta"), torch.Generator())
    assert {part.device.type for part in found} == {"meta"}
    assert [part.shape for part in found] == [images.shape, masks.shape]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_a_gpu_augments_as_the_cpu_does(name):
    images, masks = batch((24, 24), 0)
    first, second = generators(0)
    here = AUGMENTATIONS.get(name)(images, masks, first)
    there = AUGMENTATIONS.get(name)(images.cuda(), masks.cuda(), second)
    assert torch.allclose(here[0], there[0].cpu(), atol=1e-5)
    assert (here[1] != there[1].cpu()).float().mean() < 0.01


@given(
    st.lists(st.sampled_from(AUGMENTATIONS.names()), max_size=5),
    st.integers(0, 2**31),
    st.tuples(st.integers(2, 20), st.integers(2, 20)),
    st.integers(1, 4),
)
@settings(max_examples=30)
def test_any_row_of_augmentations_keeps_shapes_types_and_the_masks_two_values(names, seed, size, count):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn((count, 3, *size), generator=generator).half()
    masks = (torch.rand((count, *size), generator=generator) < 0.3).to(torch.uint8)
    shapes = [(part.shape, part.dtype) for part in (images, masks)]
    for function in augment.build(names):
        images, masks = function(images, masks, generator)
    assert [(part.shape, part.dtype) for part in (images, masks)] == shapes
    assert set(masks.unique().tolist()) <= {0, 1}
    assert torch.isfinite(images).all()
