import pytest

from moorage.model.share import FLOWS, Share


@pytest.mark.parametrize(
    ("flows", "share"),
    [(1, (1, 1)), (100, (1, 100)), (2047, (1, 2047)), (2048, (2, 960)), (8192, (8, 960)), (FLOWS, (32, 960))],
)
def test_what_is_counted(flows: int, share: tuple[int, int]) -> None:
    """All of few, and of many a sample, whose bound is that of all less what chance may take from it."""
    assert Share.of(flows) == (*share, flows)


@pytest.mark.parametrize("flows", [2048, 5000, 32767, 1 << 20, 1 << 24])
def test_a_sample_stays_below(flows: int) -> None:
    """What is bounded is never more than was said, and not a tenth less."""
    share = Share.of(flows)
    assert 0.9 * flows < share.every * share.over < flows
