"""The classifier of a service in this process, asked without HTTP."""

import time
from collections.abc import Sequence

from model.preprocessing import Pixels
from service.cancellation import Disconnect
from service.postprocessing.schemas import Result
from service.postprocessing.trust import DEFAULT, PredictOptions
from service.registry.outcome import Outcome
from tests.service.conftest import Service

TOP_1 = PredictOptions(top_k=1)


async def predict(
    service: Service,
    payloads: Sequence[bytes],
    timeout_s: float | None = None,
    disconnect: Disconnect | None = None,
    options: PredictOptions = DEFAULT,
) -> Outcome:
    limit_s = service.classifier.settings.deadline_s
    deadline = time.perf_counter() + (limit_s if timeout_s is None else timeout_s)
    return await service.classifier.predict(payloads, deadline, disconnect or Disconnect(), options)


async def predict_tensors(
    service: Service, images: Sequence[Pixels], disconnect: Disconnect | None = None
) -> Outcome:
    deadline = time.perf_counter() + 10
    return await service.classifier.predict_tensors(images, deadline, disconnect or Disconnect())


async def classify(service: Service, payloads: list[bytes]) -> list[Result]:
    """Give the most probable label of each image."""
    outcome = await predict(service, payloads)
    return await service.classifier.results(outcome, TOP_1)
