"""The backbone with an encoder dilated by 9: is the dilated branch alone enough? (claim C8)."""

from __future__ import annotations

from functools import partial

from pam.networks.backbone import Unet
from pam.networks.blocks import ConvBlock
from pam.networks.zoo import NETWORKS


@NETWORKS.register
def d9unet(in_channels: int, *, width: int = 32, out_channels: int = 1) -> Unet:
    """U-net whose down-sampling encoder blocks are dilated by 9.

    Source: Xu et al. (2020), section 4.3, "effect of attention branches". Differs: none.
    """
    dilated = dict.fromkeys(("encoder2", "encoder3", "encoder4"), partial(ConvBlock, dilation=9))
    return Unet(in_channels, width=width, out_channels=out_channels, blocks=dilated)
