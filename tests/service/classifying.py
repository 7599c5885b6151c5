"""The classifier of a service in this process, asked without HTTP."""

from service.postprocessing.schemas import Result
from tests.service.conftest import Service


async def classify(service: Service, payloads: list[bytes]) -> list[Result]:
    """Give the likeliest label of each picture."""
    answered = await service.classifier.answer(payloads)
    return await service.classifier.results(answered, 1)
