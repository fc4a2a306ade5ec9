"""Devices with public measurements of speed, and the settings of these measurements."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError, did_you_mean


@dataclass(frozen=True)
class Setting:
    """A device and how networks ran on it.

    Attributes:
        name: device, then what differs from eager inference in the usual memory format.
        device: its name alone.
        precision: ``"amp"`` (half precision where torch's autocast says so) or ``"fp32"``.
        layout: memory format, ``"nchw"`` or ``"nhwc"``.
        compiled: by ``torch.compile``.
        training: a step of training (forward, backward, update); else a forward.
        batches: the smallest and the largest batch size that was measured.
        teraflops, gigabytes: of the datasheet, in a second: floating-point operations in that
            precision, and bytes of its memory.
        software: versions of torch and CUDA.
        source: name of the public table that it was learnt from.
    """

    name: str
    device: str
    precision: str
    layout: str
    compiled: bool
    training: bool
    batches: tuple[int, int]
    teraflops: float
    gigabytes: float
    software: str
    source: str

    @property
    def described(self) -> str:
        """In words.

        Example:
            >>> setting("rtx4090-compiled").described
            'rtx4090, inference, amp, nchw, compiled (torch 2.9.1, CUDA 12.8)'
        """
        does = "training" if self.training else "inference"
        runs = "compiled" if self.compiled else "eager"
        return f"{self.device}, {does}, {self.precision}, {self.layout}, {runs} ({self.software})"


_DATASHEETS = {"rtx3090": (71.0, 936.0), "rtx4090": (165.2, 1008.0), "i9-10940x": (3.0, 94.0)}
"""TFLOP/s and GB/s. GPUs: half precision on tensor cores, summed in single precision, without
sparsity; the CPU: 14 cores of two AVX-512 units at 3.3 GHz."""


def _timm(name: str, how: str, batches: tuple[int, int], software: str, source: str) -> Setting:
    device, precision, layout, *flags = how.split()
    return Setting(
        name,
        device,
        precision,
        layout,
        "compiled" in flags,
        "training" in flags,
        batches,
        *_DATASHEETS[device],
        software,
        f"timm results/benchmark-{source}.csv",
    )


SETTINGS = (
    _timm(
        "rtx3090",
        "rtx3090 amp nchw",
        (6, 1024),
        "torch 2.4.0, CUDA 12.4",
        "infer-amp-nchw-pt240-cu124-rtx3090",
    ),
    _timm(
        "rtx3090-nhwc",
        "rtx3090 amp nhwc",
        (8, 1024),
        "torch 2.4.0, CUDA 12.4",
        "infer-amp-nhwc-pt240-cu124-rtx3090",
    ),
    _timm(
        "rtx4090",
        "rtx4090 amp nchw",
        (4, 1024),
        "torch 2.9.1, CUDA 12.8",
        "infer-amp-nchw-pt291-cu128-4090",
    ),
    _timm(
        "rtx4090-compiled",
        "rtx4090 amp nchw compiled",
        (6, 1024),
        "torch 2.9.1, CUDA 12.8",
        "infer-amp-nchw-pt291-cu128-4090-dynamo",
    ),
    _timm(
        "i9-10940x-compiled",
        "i9-10940x fp32 nchw compiled",
        (1, 1),
        "torch 2.4.0",
        "infer-fp32-nchw-pt240-cpu-i9_10940x-dynamo",
    ),
    _timm(
        "rtx3090-train",
        "rtx3090 amp nchw training",
        (1, 512),
        "torch 1.12, CUDA 11.3",
        "train-amp-nchw-pt112-cu113-rtx3090",
    ),
    Setting(
        *("epyc-1core", "epyc-1core", "fp32", "nchw"),
        compiled=False,
        training=False,
        batches=(1, 8),
        teraflops=0.11,  # measured: a product of matrices, and a copy
        gigabytes=39.0,
        software="torch 2.13.0",
        source="experiments/measured_processor.py",
    ),
)
"""In the order in which predictors number them."""


def setting(
    device: str,
    compiled: bool | None = None,
    training: bool | None = None,
    layout: str | None = None,
    precision: str | None = None,
) -> Setting:
    """Return the first setting of a device in ``SETTINGS`` that matches the arguments.

    Args:
        device: a device, or the name of a setting.
        compiled, training, layout, precision: as in ``Setting``; None where it does not
            matter, but inference comes before training.

    Raises:
        InputError: there is no such device, or it was not measured with such a setting.

    Example:
        >>> setting("rtx3090", layout="nhwc").name, setting("i9-10940x").name
        ('rtx3090-nhwc', 'i9-10940x-compiled')
    """
    key = device.lower()
    found = [one for one in SETTINGS if one.name == key]
    found += [one for one in SETTINGS if one.device == key and one not in found]
    if not found:
        names = [one.name for one in SETTINGS]
        raise InputError(
            f"device: got {device!r}, {did_you_mean(device, names)}"
            f"expected one of {', '.join(names)}"
        )
    wanted = {
        name: value
        for name, value in (
            ("compiled", compiled),
            ("training", training),
            ("layout", layout),
            ("precision", precision),
        )
        if value is not None
    }
    for one in found:
        if all(getattr(one, name) == value for name, value in wanted.items()):
            return one
    asked = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
    known = "; ".join(one.described for one in found)
    raise InputError(f"device: {device!r} was not measured with {asked}, only as {known}")
