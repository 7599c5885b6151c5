"""Which GPUs the workers use, one each: those that are set, or all that there are."""

from service.errors import StartError
from service.inference.cuda import count_devices
from service.inference.engine import has_cuda_build
from service.settings import Settings


def find_devices(settings: Settings) -> tuple[int, ...]:
    """List the GPUs for the workers, by index; none where the CPU serves.

    Raises:
        StartError: If one is set that this process does not see, although it sees others.
    """
    if settings.provider == "cpu" or not has_cuda_build():
        return ()
    count = count_devices()
    if count == 0:  # the engine says so, or falls back, as the settings want
        return ()
    for device in settings.device_ids:
        if device >= count:
            raise StartError(
                f"RESNET_DEVICE_IDS names GPU {device}, but this process sees "
                f"{count}, counted from 0. Name one of those, or make more GPUs "
                "visible (CUDA_VISIBLE_DEVICES, the container's devices)."
            )
    return settings.device_ids or tuple(range(count))
