"""Reverse False Negative Attention: trained on reversed labels, weighted by a down-sampled copy of its features."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from pam.networks.backbone import Unet, at_least_one, one_of, placed
from pam.networks.blocks import Attention, ConvBlock, InstanceNorm, attend, conv1x1, conv3x3, upsample
from pam.networks.zoo import NETWORKS

STEPS = {2: 0, 4: 1, 8: 2}  # 3×3 convolutions of stride 2 behind the expansion, which has the first stride


class DownsampledAttention(Attention):
    """A = σ(W4[up-sample(W3{W2[W1(F)]})] + F), b c h w (eq. 2); ratio 4 has no W3, ratio 2 no W2 either.

    Heights and widths that the ratio does not divide are brought back to F's.
    """

    def __init__(self, channels: int, *, ratio: int, expansion: int, depthwise: bool, shared_kernel: bool) -> None:
        super().__init__()
        hidden = expansion * channels
        kernels = min(1, STEPS[ratio]) if shared_kernel else STEPS[ratio]
        self.shared_kernel = shared_kernel
        self.expand = conv1x1(channels, hidden, stride=2)
        self.down = nn.ModuleList(conv3x3(hidden, hidden, stride=2, depthwise=depthwise) for _ in range(kernels))
        self.norms = nn.ModuleList(InstanceNorm(hidden, affine=True) for _ in range(STEPS[ratio]))
        self.reduce = conv1x1(hidden, channels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.expand(features)
        for step, norm in enumerate(self.norms):
            down = self.down[0 if self.shared_kernel else step]
            x = functional.relu(norm(down(x)))
        # Eq. 2 reduces after up-sampling. Both are linear, one over channels and one over positions, so their order
        # changes nothing but the cost: reduced first, ratio² × expansion fewer values are up-sampled and kept.
        x = upsample(self.reduce(x), (features.shape[-2], features.shape[-1]))
        return (x + features).sigmoid()


class ReverseFalseNegativeAttention(nn.Module):
    """Y = F·A + F, the attention branch A taken from the main branch F (eq. 2)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, attention: Attention) -> None:
        super().__init__()
        self.main = ConvBlock(in_channels, out_channels, stride)
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        features = self.main(x)
        return attend(features, self.attention(features))


@NETWORKS.register
def rfna(
    in_channels: int,
    *,
    width: int = 32,
    out_channels: int = 1,
    ratio: int = 8,
    expansion: int = 8,
    depthwise: bool = True,
    shared_kernel: bool = True,
    reversed_labels: bool = True,
    placement: str = "encoder",
) -> Unet:
    """U-net that learns the background and attends to its own features (Reverse False Negative Attention).

    At small widths it may stay blind: the first steps push every logit towards the background, and where they leave
    the head (no bias, behind a rectifier) no weight for the foreground, its probability cannot pass one half. Seen at
    width 8, where 1 of 8 first weights was for the foreground; not at 16.

    Source: Xu et al. (2020), eq. 2. Differs: expansion 8 and one kernel for W2 and W3, which give Table 5's size.
    """
    one_of("ratio", ratio, tuple(STEPS))
    at_least_one(expansion=expansion)
    one_of("depthwise", depthwise, (False, True))
    one_of("shared_kernel", shared_kernel, (False, True))
    one_of("reversed_labels", reversed_labels, (False, True))

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        attention = DownsampledAttention(
            outputs, ratio=ratio, expansion=expansion, depthwise=depthwise, shared_kernel=shared_kernel
        )
        return ReverseFalseNegativeAttention(inputs, outputs, stride, attention)

    return Unet(
        in_channels,
        width=width,
        out_channels=out_channels,
        blocks=placed(block, placement, encoder=("encoder2", "encoder3", "encoder4", "bridge")),
        attention="mixed",
        placement=placement,
        reversed_labels=reversed_labels,
    )


@NETWORKS.register
def rfna_text(
    in_channels: int,
    *,
    width: int = 32,
    out_channels: int = 1,
    ratio: int = 8,
    expansion: int = 4,
    depthwise: bool = True,
    shared_kernel: bool = False,
    reversed_labels: bool = True,
    placement: str = "encoder",
) -> Unet:
    """Reverse False Negative Attention with the defaults of the paper's text: expansion 4, a kernel each for W2 and W3.

    Source: Xu et al. (2020), section 3.3. Differs: has 4.40 M parameters where Table 5 says 5.63 M.
    """
    return rfna(
        in_channels,
        width=width,
        out_channels=out_channels,
        ratio=ratio,
        expansion=expansion,
        depthwise=depthwise,
        shared_kernel=shared_kernel,
        reversed_labels=reversed_labels,
        placement=placement,
    )
