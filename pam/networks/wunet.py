"""The backbone at twice the width: is capacity the reason? (claim C9)."""

from __future__ import annotations

from pam.networks.backbone import Unet
from pam.networks.zoo import NETWORKS


@NETWORKS.register
def wunet(in_channels: int, *, width: int = 64, out_channels: int = 1) -> Unet:
    """U-net at width 64.

    Source: Xu et al. (2020), section 4.3, "effect of model capacity". Differs: none.
    """
    return Unet(in_channels, width=width, out_channels=out_channels)
