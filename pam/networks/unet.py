"""The backbone itself."""

from __future__ import annotations

from pam.networks.backbone import Unet
from pam.networks.zoo import NETWORKS


@NETWORKS.register
def unet(in_channels: int, *, width: int = 32, out_channels: int = 1) -> Unet:
    """U-net without attention; the reference of every comparison.

    Source: Ronneberger et al. (2015). Differs: strided convolutions, instance norm, bilinear up-sampling, width 32.
    """
    return Unet(in_channels, width=width, out_channels=out_channels)
