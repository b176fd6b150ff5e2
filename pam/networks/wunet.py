"""The backbone at twice the width: is capacity the reason? (claim C9)."""

from __future__ import annotations

from pam.networks.backbone import Unet
from pam.networks.zoo import NETWORKS

FACTOR = 2


@NETWORKS.register
def wunet(in_channels: int, *, width: int = 32, out_channels: int = 1) -> Unet:
    """U-net at twice the width of the network that it is held against, which `width` names.

    Source: Xu et al. (2020), section 4.3, "effect of model capacity". Differs: none.
    """
    return Unet(in_channels, width=FACTOR * width, out_channels=out_channels)
