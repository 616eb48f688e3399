"""Time intervals: what they contain, how they are written, and how they are told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from alerts.engine.intervals import IntervalError, TimeInterval, containing, describe, parse_interval, to_mapping

# Sunday, 22 November 2026
SUNDAY = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)

INSIDE = [
    ({}, SUNDAY, True),
    ({"times": [{"start_time": "09:30", "end_time": "10:00"}]}, SUNDAY, True),
    ({"times": [{"start_time": "09:00", "end_time": "09:30"}]}, SUNDAY, False),
    ({"times": [{"start_time": "00:00", "end_time": "24:00"}]}, SUNDAY.replace(hour=23, minute=59, second=59), True),
    ({"weekdays": ["sunday"]}, SUNDAY, True),
    ({"weekdays": ["monday:friday"]}, SUNDAY, False),
    ({"weekdays": ["monday", "Saturday"]}, SUNDAY.replace(day=21), True),
    ({"days_of_month": ["22"]}, SUNDAY, True),
    ({"days_of_month": ["-9:-1"]}, SUNDAY, True),
    ({"days_of_month": ["-8:-1"]}, SUNDAY, False),
    ({"days_of_month": ["1:-1"]}, SUNDAY, True),
    ({"days_of_month": ["29:31"]}, datetime(2026, 2, 28, tzinfo=UTC), False),
    ({"days_of_month": ["28:31"]}, datetime(2026, 2, 28, tzinfo=UTC), True),
    ({"days_of_month": ["-31:-28"]}, datetime(2026, 2, 1, tzinfo=UTC), True),
    ({"months": ["november"]}, SUNDAY, True),
    ({"months": ["1:10", "12"]}, SUNDAY, False),
    ({"years": ["2026"]}, SUNDAY, True),
    ({"years": ["2027:2030"]}, SUNDAY, False),
    ({"weekdays": ["sunday"], "months": ["may"]}, SUNDAY, False),
]


@pytest.mark.parametrize(("raw", "at", "expected"), INSIDE)
def test_AT_5_fields_are_anded_and_ranges_are_ored(raw: dict[str, object], at: datetime, expected: bool) -> None:
    assert parse_interval(raw).contains(at) is expected


@pytest.mark.parametrize(
    ("location", "hour", "expected"), [("Asia/Tokyo", 0, True), ("UTC", 0, False), ("Asia/Tokyo", 9, False)]
)
def test_AT_6_times_are_wall_times_of_the_location(location: str, hour: int, expected: bool) -> None:
    interval = parse_interval({"times": [{"start_time": "09:00", "end_time": "10:00"}], "location": location})
    assert interval.contains(SUNDAY.replace(hour=hour)) is expected


def test_AT_6_the_weekday_is_that_of_the_location() -> None:
    late = SUNDAY.replace(hour=20)
    assert parse_interval({"weekdays": ["monday"], "location": "Asia/Tokyo"}).contains(late)


def test_AT_6_a_wall_time_stays_when_the_clocks_change() -> None:
    interval = parse_interval({"times": [{"start_time": "09:00", "end_time": "10:00"}], "location": "Europe/Zagreb"})
    summer, winter = datetime(2026, 7, 1, 7, 30, tzinfo=UTC), datetime(2026, 12, 1, 8, 30, tzinfo=UTC)
    assert interval.contains(summer)
    assert interval.contains(winter)


BAD = [
    ({"times": [{"start_time": "10:00", "end_time": "09:00"}]}, "over midnight"),
    ({"times": [{"start_time": "9:00", "end_time": "10:00"}]}, "not a time of day"),
    ({"times": [{"start_time": "09:00", "end_time": "24:01"}]}, "not a time of day"),
    ({"times": [{"start_time": "09:00"}]}, "start_time and end_time"),
    ({"times": "09:00"}, "must be a list"),
    ({"weekdays": ["friday:monday"]}, "ends before it begins"),
    ({"weekdays": ["funday"]}, "not one of sunday to saturday"),
    ({"days_of_month": ["0"]}, "not a valid day"),
    ({"days_of_month": ["32"]}, "not a valid day"),
    ({"days_of_month": ["-5:5"]}, "must end with a negative day"),
    ({"days_of_month": ["10:5"]}, "ends before it begins"),
    ({"months": ["13"]}, "not one of january to december"),
    ({"years": ["2030:2020"]}, "ends before it begins"),
    ({"years": ["soon"]}, "not a whole number"),
    ({"location": "Europe/Atlantis"}, "unknown time zone"),
    ({"location": "../../etc/passwd"}, "unknown time zone"),
    ({"hours": []}, "unknown field 'hours'"),
]


@pytest.mark.parametrize(("raw", "words"), BAD)
def test_AT_5_a_bad_interval_is_refused_in_words(raw: dict[str, object], words: str) -> None:
    with pytest.raises(IntervalError, match=words):
        parse_interval(raw)


def test_an_interval_reads_back_what_it_writes() -> None:
    raw = {
        "times": [{"start_time": "09:00", "end_time": "24:00"}],
        "weekdays": ["monday:friday", "sunday"],
        "days_of_month": ["1:5", "-3:-1"],
        "months": ["january:march"],
        "years": ["2026:2030"],
        "location": "Europe/Zagreb",
    }
    assert to_mapping(parse_interval(raw)) == raw


def test_AT_1_the_first_name_that_contains_the_time_is_told() -> None:
    table = {"never": [TimeInterval(years=((1999, 1999),))], "always": [TimeInterval()]}
    assert containing(["gone", "never", "always"], table, SUNDAY) == "always"
    assert containing(["gone", "never"], table, SUNDAY) is None


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({}, "always (UTC)"),
        (
            {"weekdays": ["monday:friday"], "times": [{"start_time": "09:00", "end_time": "17:00"}]},
            "Monday to Friday, 09:00–17:00 (UTC)",
        ),
        ({"days_of_month": ["-1"], "location": "Asia/Tokyo"}, "day the last (Asia/Tokyo)"),
    ],
)
def test_an_interval_is_told_in_words(raw: dict[str, object], words: str) -> None:
    assert describe(parse_interval(raw)) == words
