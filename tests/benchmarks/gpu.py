"""What a GPU gives: a step against eager float32 and against the machine's bound, and many cells on one GPU.

    python tests/benchmarks/gpu.py [--networks unet,fpa,rfna] [--batch 50] [--size 160] [--width 32] [--cells 4]

Needs torch, numpy and scipy alone, so it runs on any bare GPU machine. Without a GPU the GPU's rows say that they were
not measured, and only the packing of cells is measured, on the CPU at `--packed-size` and `--packed-width`; `--cpu`
runs every part on the CPU, to see that it works.

**Step**: pam's (`pam.train.fit`: bfloat16 autocast, channels last on a GPU, fused AdamW, slices held on the device) in
turns with a plain float32 loop, whose convolutions use TF32 as PyTorch's default has it; then pam's compiled.
**Bound**: no step can take less than its FLOP at the speed of a large bfloat16 matrix product, nor less than its bytes
at the speed of a copy, both measured here. Bytes are those that the network's operations read and write, each tensor
once, at two bytes a number (`pam.networks.cost.training_work`); fewer only if operations are fused.
**Packing**: cells of one variant, as folds and seeds are, of which each trains on batches of its own. One process after
another is the baseline; then several processes at once, and one process that trains all by `vmap` over stacked weights.
The fused cells must end where the lone ones do: in float32, losses within `TOLERANCE` of each other, relative. On two
CPU cores fusing gains nothing (see the table), so pam trains a cell in a process and leaves packing to Ray.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier

import numpy as np
import torch
from measured import Row, faster, finish, in_turns, options, seconds, short
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from pam import networks
from pam.data.batches import Batches
from pam.losses import loss_of
from pam.networks.cost import training_work
from pam.study import Recipe
from pam.train import autocast, fit

CHANNELS, ENDLESS = 4, 10**6
SPEEDUP, BOUND, PACKED = 4.0, 50.0, 2.0  # targets: times eager float32, per cent of the bound, times one process
TOLERANCE = 1e-3
WAIT = 600.0  # seconds for processes to start and to train; one that fails breaks the barrier for all then
Step = Callable[[], object]


def waited(step: Step, device: torch.device) -> Step:
    """The step, and the wait until the GPU has done it."""

    def run() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def slices(batch: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(batch, CHANNELS, side, side)).astype(np.float16)
    return images, (generator.random((batch, side, side)) < 0.05).astype(np.uint8)


def built(name: str, width: int, seed: int) -> nn.Module:
    return networks.build(name, CHANNELS, generator=torch.Generator().manual_seed(seed), width=width)


def plain(network: nn.Module, images: np.ndarray, masks: np.ndarray, device: torch.device) -> Step:
    """What a researcher's script does, its data on the device already."""
    network = network.to(device)
    x, target = (torch.from_numpy(array).to(device).float() for array in (images, masks[:, None]))
    optimizer, loss = torch.optim.AdamW(network.parameters(), lr=1e-4), loss_of(network, "dice")

    def step() -> None:
        optimizer.zero_grad()
        loss(network(x), target).backward()
        optimizer.step()

    return waited(step, device)


def ours(
    network: nn.Module, images: np.ndarray, masks: np.ndarray, device: torch.device, precision: str = "bfloat16"
) -> Step:
    """An epoch of one batch through `fit`, which ends by waiting for its loss."""
    batches = Batches(
        images,
        masks,
        np.arange(len(images)),
        batch_size=len(images),
        augment=("horizontal_flip",),
        generator=torch.Generator().manual_seed(0),
        device=device,
    )
    epochs = fit(network, batches, Recipe(epochs=ENDLESS, batch_size=len(images), precision=precision))
    return waited(lambda: next(epochs), device)


def steps(arguments: argparse.Namespace, device: torch.device) -> Iterator[Row]:
    batch, side, kind = arguments.batch, arguments.size, device.type.upper()
    targets = {"least": SPEEDUP} if device.type == "cuda" else {}
    shape = f"batch {batch} of {CHANNELS}×{side}×{side}, width {arguments.width}"
    flops, bandwidth = machine_speed(device, arguments.probe)
    for name in arguments.networks.split(","):
        data = slices(batch, side, 0)
        eager = plain(built(name, arguments.width, 0), *data, device)
        for words, how in compiled_ways(arguments.backend, device).items():
            step = ours(how(built(name, arguments.width, 0)), *data, device)
            for way in (eager, step, step):
                way()  # chooses kernels, compiles, captures
            row = faster(
                f"training step, {kind}, {shape}: {name}, {words}",
                in_turns(eager, step, arguments.pairs),
                against="eager float32 loop",
                **targets,
            )
            yield row
            yield bound(f"{name}, {words}, {kind}", name, arguments, row, flops, bandwidth)


def compiled_ways(backend: str, device: torch.device) -> dict[str, Callable[[nn.Module], nn.Module]]:
    """pam's step, and what it would be compiled: not part of pam unless it is measured to be worth it."""
    ways: dict[str, Callable[[nn.Module], nn.Module]] = {
        "pam": lambda network: network,
        "pam, compiled": lambda network: torch.compile(network, backend=backend),
    }
    if device.type == "cuda" and backend == "inductor":
        ways["pam, compiled, CUDA graphs"] = lambda network: torch.compile(network, mode="reduce-overhead")
    return ways


def machine_speed(device: torch.device, side: int) -> tuple[float, float]:
    """FLOP/s of a bfloat16 matrix product, bytes/s of a copy: the best of several."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.randn(4 * side * side, device=device)
    copied = torch.empty_like(source)
    product, copying = waited(lambda: a @ b, device), waited(lambda: copied.copy_(source), device)
    product(), copying()
    flops = 2 * side**3 / min(seconds(product) for _ in range(10))
    return flops, 2 * source.nbytes / min(seconds(copying) for _ in range(10))


def bound(what: str, name: str, arguments: argparse.Namespace, row: Row, flops: float, bandwidth: float) -> Row:
    """How close the step comes to the least time that its FLOP or its bytes take."""
    image = (CHANNELS, arguments.size, arguments.size)
    work = training_work(networks.sketch(name, CHANNELS, width=arguments.width), image)
    flop, moved = arguments.batch * work.flop, arguments.batch * work.moved / 2
    by_flop, by_bytes = flop / flops, moved / bandwidth
    least = max(by_flop, by_bytes)
    return Row(
        what=f"share of the bound set by FLOP and bytes: {what}",
        unit="%",
        values=tuple(100 * least / ours for _, ours in row.taken),
        least=BOUND if row.least else None,
        against="the machine's bound",
        note=f"{flop / 1e12:.3g} TFLOP / {flops / 1e12:.3g} TFLOP/s = {1e3 * by_flop:.3g} ms; "
        f"{moved / 1e9:.3g} GB / {bandwidth / 1e9:.3g} GB/s = {1e3 * by_bytes:.3g} ms; the larger is the bound",
    )


class Fused:
    """Cells of one variant that train together: `step` is one step of each, by `vmap` over their stacked weights."""

    def __init__(self, cells: list[nn.Module], data: list[tuple[np.ndarray, np.ndarray]], device: torch.device) -> None:
        cells = [cell.to(device).train() for cell in cells]
        self._parameters, self._buffers = stack_module_state(cells)
        self._skeleton = copy.deepcopy(cells[0]).to("meta")
        self._loss = loss_of(cells[0], "dice")
        self._optimizer = torch.optim.AdamW(self._parameters.values(), lr=1e-4, weight_decay=0.01, fused=True)
        self._images = torch.stack([torch.from_numpy(images) for images, _ in data]).to(device).float()
        self._target = torch.stack([torch.from_numpy(masks[:, None]) for _, masks in data]).to(device).float()

    def step(self, precision: str = "bfloat16") -> Tensor:
        """Each cell's loss before the step; AdamW is elementwise, so that no cell sees another's gradients."""
        with autocast(self._images.device, precision):
            logits = vmap(self._one, randomness="different")(self._parameters, self._buffers, self._images)
        losses = vmap(self._loss)(logits, self._target)
        self._optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        self._optimizer.step()
        return losses.detach()

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
        logits: Tensor = functional_call(self._skeleton, (parameters, buffers), (images,))
        return logits


def apart(name: str, arguments: argparse.Namespace, device: torch.device) -> float:
    """Largest relative difference of a loss between fused cells and lone ones, over a few float32 steps."""
    side, batch, width = arguments.packed_size, arguments.packed_batch, arguments.packed_width
    data = [slices(batch, side, seed) for seed in range(2)]
    together = Fused([built(name, width, seed) for seed in range(2)], data, device)
    fused = torch.stack([together.step("float32").cpu() for _ in range(5)], dim=1)
    lone = torch.stack([_losses(built(name, width, seed), *data[seed], device) for seed in range(2)])
    return float(((fused - lone) / lone).abs().max())


def _losses(network: nn.Module, images: np.ndarray, masks: np.ndarray, device: torch.device) -> Tensor:
    """Through `fit`, without augmentation."""
    batches = Batches(
        images,
        masks,
        np.arange(len(images)),
        batch_size=len(images),
        augment=(),
        generator=torch.Generator().manual_seed(0),
        device=device,
    )
    recipe = Recipe(epochs=5, batch_size=len(images), precision="float32")
    return torch.tensor([epoch.loss for epoch in fit(network, batches, recipe)])


def packing(arguments: argparse.Namespace, device: torch.device) -> Iterator[Row]:
    count, kind = arguments.cells, device.type.upper()
    side, batch, width = arguments.packed_size, arguments.packed_batch, arguments.packed_width
    targets = {"least": PACKED} if device.type == "cuda" else {}
    data = [slices(batch, side, seed) for seed in range(count)]
    for name in arguments.packed.split(","):
        what = f"{count} cells on one {kind}, batch {batch} of {CHANNELS}×{side}×{side}, width {width}: {name}"
        against = "one process, one cell after another"
        lone = [ours(built(name, width, seed), *data[seed], device) for seed in range(count)]
        together = Fused([built(name, width, seed) for seed in range(count)], data, device)

        def in_a_row(lone: list[Step] = lone) -> None:
            for _ in range(arguments.steps):
                for step in lone:
                    step()

        def fused(together: Fused = together) -> None:
            for _ in range(arguments.steps):
                waited(together.step, device)()

        in_a_row(), fused()
        row = faster(f"{what}, fused by vmap", in_turns(in_a_row, fused, arguments.pairs), against=against, **targets)
        yield row
        taken = [(seconds(in_a_row), _at_once(name, arguments, device)) for _ in range(arguments.pairs)]
        alone = statistics.median(before for before, _ in taken) / (count * arguments.steps)
        note = (
            f"alone, a cell of {arguments.cell_steps:,} steps would take {short(arguments.cell_steps * alone / 3600)} h"
        )
        yield faster(f"{what}, {count} processes at once", taken, against=against, note=note, **targets)
        yield Row(
            what=f"largest relative difference of a fused cell's loss from the lone one's, {kind}, float32: {name}",
            unit="",
            values=(apart(name, arguments, device),),
            most=TOLERANCE,
        )


def _at_once(name: str, arguments: argparse.Namespace, device: torch.device) -> float:
    """Seconds until all cells have trained, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(arguments.cells + 1)  # met when all are ready, and when all have trained
    threads = max(1, torch.get_num_threads() // arguments.cells)
    workers = [
        context.Process(target=_worker, args=(name, seed, arguments, str(device), threads, together))
        for seed in range(arguments.cells)
    ]
    for worker in workers:
        worker.start()
    together.wait(WAIT)
    start = time.perf_counter()
    together.wait(WAIT)
    taken = time.perf_counter() - start
    for worker in workers:
        worker.join()
    return taken


def _worker(name: str, seed: int, arguments: argparse.Namespace, device: str, threads: int, together: Barrier) -> None:
    torch.set_num_threads(threads)
    data = slices(arguments.packed_batch, arguments.packed_size, seed)
    step = ours(built(name, arguments.packed_width, seed), *data, torch.device(device))
    step()
    together.wait(WAIT)
    for _ in range(arguments.steps):
        step()
    together.wait(WAIT)


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    device = torch.device("cuda" if torch.cuda.is_available() and not arguments.cpu else "cpu")
    if device.type == "cuda" or arguments.cpu:
        yield from steps(arguments, device)
    else:
        yield from absent(arguments)
    yield from packing(arguments, device)


def absent(arguments: argparse.Namespace) -> Iterator[Row]:
    """The GPU's rows on a machine without one."""
    for name in arguments.networks.split(","):
        shape = f"batch {arguments.batch} of {CHANNELS}×{arguments.size}×{arguments.size}, width {arguments.width}"
        against = "eager float32 loop"
        yield Row(
            what=f"training step, CUDA, {shape}: {name}, pam", least=SPEEDUP, against=against, note="no GPU at hand"
        )
        what = f"share of the bound set by FLOP and bytes: {name}, pam, CUDA"
        yield Row(what=what, unit="%", least=BOUND, against="the machine's bound", note="no GPU at hand")
    yield Row(
        what="cells per hour of one GPU, packed or fused", least=PACKED, against="one process", note="no GPU at hand"
    )


if __name__ == "__main__":
    parser = options(
        __doc__,
        networks="unet,fpa,rfna",
        batch=50,
        size=160,
        width=32,
        pairs=5,
        probe=8192,
        backend="inductor",
        packed="unet,fpa",
        cells=4,
        steps=10,
        threads=2,
    )
    cuda = torch.cuda.is_available()
    for option, on_gpu, on_cpu in (("size", 160, 64), ("width", 32, 8), ("batch", 50, 8)):
        parser.add_argument(f"--packed-{option}", type=int, default=on_gpu if cuda else on_cpu)
    parser.add_argument("--cell-steps", type=int, default=25_600, help="of a cell: 80 epochs of 320 steps")
    parser.add_argument("--cpu", action="store_true", help="run every part on the CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sys.exit(finish(__file__, measure(arguments), arguments))
