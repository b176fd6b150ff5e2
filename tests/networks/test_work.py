"""What training on an image takes, counted: by hand where it can be."""

from __future__ import annotations

from torch import nn

from pam import networks
from pam.networks.cost import flop, training_work


def test_work_of_a_pointwise_convolution_is_that_counted_by_hand():
    work = training_work(nn.Conv2d(3, 2, 1, bias=False), (3, 8, 8))
    image, maps, weights = 4 * 3 * 64, 4 * 2 * 64, 4 * 6
    assert work.flop == 3 * 2 * 6 * 64  # a training step's gradients take twice what the forward pass does
    assert work.moved == (image + weights + maps) + (maps + image + 2 * weights)  # an image needs no gradient
    assert (work.depthwise, work.parameters) == (0, 6)


def test_depthwise_convolutions_are_counted_apart():
    for groups in (1, 4):
        work = training_work(nn.Conv2d(4, 4, 3, padding=1, groups=groups, bias=False), (4, 8, 8))
        image, weights = 4 * 4 * 64, 4 * 9 * 16 // groups
        both_ways = (2 * image + weights) + (2 * image + 2 * weights)
        assert (work.convolved, work.depthwise) == ((both_ways, 0) if groups == 1 else (0, both_ways))
        assert work.moved == both_ways


def test_up_sampling_is_counted_apart():
    work = training_work(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Upsample(scale_factor=2)), (1, 8, 8))
    assert work.resized == 2 * 4 * (64 + 4 * 64)  # there and back
    assert work.pointwise == 0


def test_work_grows_with_the_image_and_operations_do_not():
    network = networks.sketch("fpa", 4, width=4)
    small, large = (training_work(network, (4, side, side)) for side in (64, 128))
    assert 3.5 < large.moved / small.moved < 4.1
    assert large.operations == small.operations
    assert large.flop == 3 * flop(network, (4, 128, 128))
