from typing import Any

import numpy as np
import pytest

from service.api.v2.repository import report as report_of
from service.api.v2.schemas import Duration
from service.inference.outputs import BatchOutputs, ImageOutput
from service.observability.counters import Statistics
from service.registry.outcome import Outcome, Timings
from tests.service.conftest import Serve

ROW = np.zeros(2, np.float32)
BATCH = BatchOutputs(ROW[None], ROW[None])
OUTPUT = ImageOutput(
    ROW, ROW, queue_s=0.001, infer_s=0.002, batch_size=2, batch_outputs=BATCH, row=0
)


def test_a_model_that_did_nothing_has_every_key_at_zero() -> None:
    report = report_of(Statistics(), "m", "1")

    stages = report.inference_stats.model_dump()
    assert set(stages) == {
        "success",
        "fail",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
        "cache_hit",
        "cache_miss",
    }
    assert all(stage == {"count": 0, "ns": 0} for stage in stages.values())
    assert (report.last_inference, report.execution_count, report.batch_stats) == (0, 0, [])


def test_requests_runs_and_failures_are_counted_in_nanoseconds() -> None:
    statistics = Statistics()
    timings = Timings(decode=0.003, preprocess=0.001, queue=0.002, infer=0.005)

    statistics.batches[4].add(0.008)
    statistics.batches[2].add(0.004)
    statistics.batches[2].add(0.004)
    statistics.record_request(Outcome([OUTPUT] * 3, timings), output_s=0.001)
    statistics.record_failure(0.5)

    report = report_of(statistics, "m-image", "2")
    assert (report.name, report.version) == ("m-image", "2")
    assert (report.inference_count, report.execution_count) == (3, 3)
    assert report.last_inference > 1_600_000_000_000
    stages = report.inference_stats
    assert stages.success == Duration(count=1, ns=12_000_000)
    assert stages.compute_input == Duration(count=1, ns=4_000_000)
    assert stages.compute_output == Duration(count=1, ns=1_000_000)
    assert stages.fail == Duration(count=1, ns=500_000_000)
    assert [(batch.batch_size, batch.compute_infer) for batch in report.batch_stats] == [
        (2, Duration(count=2, ns=8_000_000)),
        (4, Duration(count=1, ns=8_000_000)),
    ]


@pytest.mark.anyio
async def test_an_unforeseen_error_is_counted_as_a_failure(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("It was not foreseen.")

    service = await serve()
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 4, 4, 1], "data": [255] * 16}
    monkeypatch.setattr("service.api.v2.infer.read_request", fail)

    response = await service.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]})
    stats = (await service.client.get("/v2/models/tiny/stats")).json()

    assert response.status_code == 500
    assert stats["model_stats"][0]["inference_stats"]["fail"]["count"] == 1
