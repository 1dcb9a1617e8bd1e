"""What a run gave, and where it was computed."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from model_runtime.session import Device

Array = NDArray[Any]


class Outputs(dict[str, Array]):
    """The outputs by name.

    device: where they were computed. degraded: True when that was the CPU although the policy wants the GPU, so
    that whoever publishes them can say so: a convolution's last digits differ between the two.
    """

    def __init__(
        self, values: Mapping[str, Array], device: Device = Device.CPU, *, degraded: bool = False
    ) -> None:
        super().__init__(values)
        self.device = device
        self.degraded = degraded
