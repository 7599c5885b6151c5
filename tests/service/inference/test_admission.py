"""How many images are admitted, and when other clients are asked to try again."""

import pytest

from service.errors import DeadlineExceededError, OverloadedError
from service.inference.admission import Admission
from service.inference.cost import CostModel
from tests.service.batching import admission_of, admitted

pytestmark = pytest.mark.anyio


async def test_no_more_images_are_admitted_than_fit() -> None:
    admission = admission_of(5)

    with admitted(admission, 3, 10), admitted(admission, 2, 10):
        with pytest.raises(OverloadedError, match="5 images are in flight") as refused:
            admitted(admission, 1, 10).__enter__()
        assert admission.in_flight == 5

    assert refused.value.retry_after_s == 1
    assert admission.in_flight == 0


async def test_a_request_larger_than_what_is_left_is_refused_whole() -> None:
    admission = admission_of(5)

    with admitted(admission, 4, 10):
        with pytest.raises(OverloadedError):
            admitted(admission, 2, 10).__enter__()

        with admitted(admission, 1, 10):
            assert admission.in_flight == 5


@pytest.mark.parametrize(("image_s", "timeout_s", "retry_after_s"), [(1, 2.0, 2), (4, 5, 7)])
async def test_a_rejection_computes_when_to_try_again(
    image_s: float, timeout_s: float, retry_after_s: int
) -> None:
    admission = admission_of(9, image_s)

    with (
        admitted(admission, 2, 60),
        pytest.raises(OverloadedError) as refused,
        admitted(admission, 2 if image_s == 1 else 1, timeout_s),
    ):
        pass

    assert refused.value.retry_after_s == retry_after_s
    assert admission.in_flight == 0


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (
            1,
            r"takes about 0.5 s even with nothing else in flight.* 0.3 s\. Allow at least 750 ms",
        ),
        (64, "64 images take about 32 s even .* Send fewer at once, or allow at least 48000 ms"),
    ],
)
@pytest.mark.parametrize("in_flight", [0, 3])
async def test_what_could_not_even_be_answered_alone_is_not_asked_to_try_again(
    count: int, message: str, in_flight: int
) -> None:
    admission = admission_of(100, 0.5)

    with (
        admitted(admission, in_flight, 60),
        pytest.raises(DeadlineExceededError, match=message) as refused,
        admitted(admission, count, 0.3),
    ):
        pass

    assert "ry again" not in str(refused.value)
    assert refused.value.retry_after_s is None


@pytest.mark.parametrize("timeout_s", [0.4, 0.6])
async def test_where_there_is_no_slot_either_the_deadline_decides(timeout_s: float) -> None:
    admission = admission_of(2, 0.5)
    kind = OverloadedError if timeout_s > 0.5 else DeadlineExceededError

    with admitted(admission, 2, 60), pytest.raises(kind) as refused:
        admission.acquire(1, timeout_s)

    assert (refused.value.retry_after_s is None) == (kind is DeadlineExceededError)


async def test_times_that_would_refuse_everything_are_tried_where_nothing_runs() -> None:
    admission = Admission(CostModel({1: 100.0}), 9, deadline_s=10)

    assert admission.verdict(1, 10) is None
    with admitted(admission, 1, 10):
        assert admission.verdict(1, 10) is not None
        with pytest.raises(DeadlineExceededError):
            admission.acquire(1, 10)


async def test_a_single_image_is_not_admitted_if_a_run_takes_longer_than_its_deadline() -> None:
    admission = Admission(CostModel({1: 0.043, 2: 0.0834}, instances=2), 9)

    assert admission.verdict(1, 0.03) is not None
    assert admission.verdict(1, 0.05) is None


@pytest.mark.parametrize(
    ("in_flight", "timeout_s", "kind"),
    [
        (0, 10, None),
        (4, 1.9, OverloadedError),
        (5, 10, OverloadedError),
        (0, 0.4, DeadlineExceededError),
    ],
)
async def test_one_computation_says_whether_and_why_images_are_rejected(
    in_flight: int, timeout_s: float, kind: type[Exception] | None
) -> None:
    admission = admission_of(5, 0.5)

    with admitted(admission, in_flight):
        verdict = admission.verdict(1, timeout_s)
        if kind is not None:
            with pytest.raises(kind) as raised:
                admission.acquire(1, timeout_s)
            assert verdict is not None
            assert str(verdict()) == str(raised.value)

    assert (verdict is None) == (kind is None)
