"""Texts of targets into samples: seen lines fast, everything else strictly, with one result."""

from __future__ import annotations

import random

import numpy as np
import pytest

from monitoring.collect import exposition
from monitoring.collect.exposition import Parser
from monitoring.collect.openmetrics import Malformed

TEXT = b"""# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{method="GET",path="/a b"} 5
requests_total{method="POST"} 7.5e3
up_since 1e-3
"""


def read(text: bytes | str, parser: Parser | None = None, om: bool = False):
    body = text.encode() if isinstance(text, str) else text
    return (parser or Parser(100_000)).read(body, om)


def pairs(found):
    return dict(zip(found.keys, found.values.tolist(), strict=True))


def bits(value: float) -> int:
    return int(np.array([value]).view(np.uint64)[0])


def test_samples_are_read_with_their_series_as_written():
    assert pairs(read(TEXT)) == {
        'requests_total{method="GET",path="/a b"}': 5,
        'requests_total{method="POST"}': 7500,
        "up_since": 0.001,
    }


def test_series_stay_the_same_object_while_only_numbers_change():
    parser = Parser(100)
    first, second = read(TEXT, parser), read(TEXT.replace(b" 5\n", b" 6\n"), parser)
    assert second.keys is first.keys
    assert second.values.tolist() == [6, 7500, 0.001]


def test_series_that_are_new_since_the_last_scrape_are_counted():
    parser = Parser(100)
    assert [read(text, parser).added for text in ("a 1\n", "a 1\n", "a 1\nb 1\n", "b 1\n", "a 1\nb 1\n")] == [
        1,
        0,
        1,
        0,
        1,
    ]


@pytest.mark.parametrize(
    ("word", "value"),
    [("+Inf", np.inf), ("-Inf", -np.inf), ("inf", np.inf), ("1e300", 1e300), (".5", 0.5), ("-0", -0.0), ("5.", 5.0)],
)
def test_numbers_are_read_as_go_reads_them(word, value):
    assert bits(read(f"a {word}\n").values[0]) == bits(value)


@pytest.mark.parametrize("om", [False, True])
def test_no_nan_of_a_target_can_pass_for_a_stale_marker(om):
    found = read("a NaN\nb -nan\nc 1\n" + "# EOF\n" * om if not om else "a NaN\nc 1\n# EOF\n", om=om)
    assert bits(found.values[0]) == 0x7FF8000000000001


def test_numbers_handed_out_do_not_change_with_the_next_scrape():
    parser = Parser(100)
    first = read("a 1\nb 2\n", parser).values
    read("a 1\nb 3\n", parser)
    assert first.tolist() == [1, 2]


@pytest.mark.parametrize("again", [False, True], ids=["unseen", "seen"])
@pytest.mark.parametrize("word", ["1_000", "0x10", "ten", "1,5", "1e", "--1", "", "1\r"])
def test_what_is_no_number_fails_with_its_line(word, again):
    parser = Parser(100)
    if again:
        read("a 1\nb 2\n", parser)
    with pytest.raises(Malformed) as caught:
        read(f"a 1\nb {word}\n", parser)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("9lives 1", "metric name"),
        ("a-b 1", "labels in braces or a value"),
        ('a{x="1" 1', "labels in braces"),
        ('a{x=1} 1', 'label="value"'),
        ('a{x="1",x="2"} 1', "a label twice"),
        ('{x="1"} 1', "metric name"),
        ('a{"b"} 1', "two metric names"),
        ("a 1 2 3", "at most a timestamp"),
        ("a 1 tomorrow", "timestamp in milliseconds"),
        ("a", "a value"),
        ("<html>", "metric name"),
        ('a 1 # {t="1"} 1', "OpenMetrics only"),
        ("# TYPE a bogus", "metric type"),
    ],
)  # fmt: skip
def test_malformed_lines_say_where_and_what(line, words):
    with pytest.raises(Malformed, match=words) as caught:
        read(f"fine 1\n{line}\n")
    assert caught.value.line == 2


def test_bytes_that_are_no_utf8_fail_with_their_line():
    with pytest.raises(Malformed, match="line 2: not UTF-8"):
        read(b'a 1\nb{x="\xff"} 1\n')


def test_the_first_of_repeated_series_wins_and_the_others_are_told():
    found = read("a 1\nb 2\na 3\n")
    assert (pairs(found), found.repeated, found.samples) == ({"a": 1, "b": 2}, 1, 3)
    assert "1 samples" in found.warning


def test_repeated_series_are_told_each_time():
    parser = Parser(100)
    assert [read("a 1\na 3\n", parser).repeated for _ in range(3)] == [1, 1, 1]


def test_own_times_are_kept_apart_and_never_taken_from_memory():
    parser = Parser(100)
    for at in (1_700_000_000_000, 1_700_000_000_000, 1_600_000_000_000):
        found = read(f"a 5\nb 7 {at}\n", parser)
        assert (pairs(found), [(one.key, one.value, one.at_ms) for one in found.own]) == ({"a": 5}, [("b", 7, at)])


def test_own_times_are_ignored_where_the_target_is_not_trusted_with_them():
    assert pairs(read("b 7 1700000000000\n", Parser(100, honor_timestamps=False))) == {"b": 7}


def test_a_value_that_looks_like_a_known_series_is_still_a_time():
    parser = Parser(100)
    read("a 1\n", parser)
    assert [one.at_ms for one in read("a 1 1700000000000\n", parser).own] == [1_700_000_000_000]


def test_openmetrics_times_are_seconds():
    assert read("a 5 1700000000.25\n# EOF\n", om=True).own[0].at_ms == 1_700_000_000_250


def test_exemplars_are_read_past_and_checked():
    text = 'a_bucket{le="1"} 5 # {trace="x"} 0.7 1700000000\n# EOF\n'
    parser = Parser(100)
    assert [pairs(read(text, parser, om=True)) for _ in range(2)] == [{'a_bucket{le="1"}': 5}] * 2
    with pytest.raises(Malformed, match="exemplar"):
        read(text.replace("0.7", "high").replace('{trace="x"}', "trace"), parser, om=True)


@pytest.mark.parametrize("text", ["a 1\n", "a 1\n# EOF\nb 1\n", "a 1\n# EOFF\n", ""])
def test_openmetrics_without_its_end_was_cut_off(text):
    with pytest.raises(Malformed, match="cut off"):
        read(text, om=True)


def test_openmetrics_allows_no_empty_line():
    with pytest.raises(Malformed, match="line 2: an empty line"):
        read("a 1\n\nb 1\n# EOF\n", om=True)


def test_names_of_utf8_are_read():
    assert list(pairs(read('{"http.requests","path.x"="ü"} 3\n'))) == ['{"http.requests","path.x"="ü"}']


def test_escapes_and_braces_inside_values_are_read():
    line = r'a{x="say \"hi\" } # {",y="c:\\d",z="1\n2"} 4'
    assert list(pairs(read(line + "\n")).values()) == [4]


def test_a_series_with_huge_labels_is_left_out_and_told_and_the_rest_is_taken():
    parser = Parser(100)
    for _ in range(2):
        found = read('a{x="' + "y" * 1_000_000 + '"} 1\nb 2\n', parser)
        assert pairs(found) == {"b": 2}
        assert "label x has 1,000,000 characters" in found.warning


def test_a_series_with_too_many_labels_is_left_out_and_told():
    labels = ",".join(f'l{number}="x"' for number in range(200))
    assert "200 labels" in read(f"a{{{labels}}} 1\nb 2\n").warning


def test_too_many_samples_fail_with_both_numbers():
    with pytest.raises(Malformed, match="11 samples; 10 are allowed"):
        read("".join(f"m{number} 1\n" for number in range(11)), Parser(10))


def test_a_text_without_a_last_line_end_is_whole():
    assert pairs(read("a 1\nb 2")) == {"a": 1, "b": 2}


def test_an_empty_text_has_no_samples():
    assert read("").samples == 0


def test_the_memory_of_lines_is_bounded(monkeypatch):
    monkeypatch.setattr(exposition, "MAX_REMEMBERED", 50)
    for number in range(200):
        read(f'churning{{id="{number}"}} {number}\n')
    assert len(exposition._memory.lines) <= 50


def some_lines(rng: random.Random, names: list[str]) -> list[tuple[str, str, str]]:
    """(name, number, own time) of lines in any order, some twice; comments and empty lines have neither."""
    lines = []
    for name in rng.sample(names, rng.randint(1, len(names))):
        time = f" {rng.randint(1, 9)}" if rng.random() < 0.01 else ""
        lines.append((name, f" {rng.randint(0, 99)}", time) if name[:1] not in ("#", "") else (name, "", ""))
    return lines + rng.sample(lines, rng.choice([0, 0, 0, 2]) if len(lines) > 2 else 0)


def other_numbers(rng: random.Random, lines: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The same lines, some with another number."""
    words = [" NaN", " -Inf", " 1e-9", " -0", " 7"]
    return [
        (name, rng.choice(words), time) if number and rng.random() < 0.5 else (name, number, time)
        for name, number, time in lines
    ]


def few_moved(
    rng: random.Random, lines: list[tuple[str, str, str]], names: list[str]
) -> list[tuple[str, str, str]]:  # fmt: skip
    """The same lines, some gone, some new, some elsewhere."""
    lines = list(lines)
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(lines))
        step = rng.choice(["come", "go", "move"])
        if step == "come":
            lines[place:place] = some_lines(rng, names)[: rng.choice([1, 1, 2, 9])]
        elif lines:
            gone = lines.pop(min(place, len(lines) - 1))
            if step == "move":
                lines.insert(rng.randint(0, len(lines)), gone)
    return lines


@pytest.mark.parametrize("seed", range(10))
def test_fast_and_strict_reading_agree_on_whatever_changes(seed):
    """Lines come, go, repeat and move, numbers change; a parser with a memory reads what one without any reads."""
    rng = random.Random(seed)
    names = [f'm{number % 7}{{a="{number}",b="x {number}"}}' for number in range(40)]
    names += ["plain", "# a comment", "", "# TYPE m1 gauge", "# HELP m1 of it"]
    parser, lines = Parser(1000), [("plain", " 1", "")]
    for _ in range(300):
        step = rng.random()
        if step < 0.1:
            lines = some_lines(rng, names)
        elif step < 0.6:
            lines = few_moved(rng, lines, names)
        if step > 0.4:
            lines = other_numbers(rng, lines)
        body = "".join(f"{name}{number}{time}\n" for name, number, time in lines).encode()
        fast = parser.read(body, False)
        remembered, exposition._memory.lines = exposition._memory.lines, {}
        strict = Parser(1000).read(body, False)
        exposition._memory.lines = remembered
        assert fast.keys == strict.keys
        assert fast.values.view(np.uint64).tolist() == strict.values.view(np.uint64).tolist()
        assert [(one.key, bits(one.value), one.at_ms) for one in fast.own] == [
            (one.key, bits(one.value), one.at_ms) for one in strict.own
        ]
        assert (fast.samples, fast.repeated, fast.warning) == (strict.samples, strict.repeated, strict.warning)


def test_series_stay_the_same_object_when_only_comments_or_repeats_come_and_go():
    parser = Parser(100)
    first = read("a 1\nb 2\n", parser)
    assert read("# a comment\na 1\nb 2\na 3\n", parser).keys is first.keys


def test_a_comment_without_a_space_does_not_make_lines_without_one_pass():
    parser = Parser(100)
    read("#comment\na 1\n", parser)
    with pytest.raises(Malformed, match="line 2"):
        read("a 1\nb\n", parser)


def test_a_type_that_is_none_fails_also_where_the_metric_is_known():
    parser = Parser(100)
    read("# TYPE a counter\na 1\n", parser)
    with pytest.raises(Malformed, match="line 1: expected a metric type"):
        read("# TYPE a bogus\na 1\n", parser)


def test_a_line_read_strictly_may_hold_whatever_its_labels_allow():
    assert pairs(read('a 1\nb_c{x="1_0"}\t-Inf\n')) == {"a": 1, 'b_c{x="1_0"}': -np.inf}
