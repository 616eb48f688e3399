"""PromQL over numpy: parse a question, answer it from blocks of samples.

Pure: no Django, no I/O, no clock but the monotonic one of the time limit. Storage is one function, ``Select``.
"""

from .errors import EvaluationError, LimitError, ParseError, QueryError
from .evaluate import instant, range_
from .labels import EMPTY, METADATA, NAME, Labels
from .limits import DEFAULT_LIMITS, Limits
from .matchers import Matcher, matches_all
from .query import Query, Selector, SplitCondition, parse, parse_matchers, split_condition
from .signatures import AGGREGATION_HELP, AGGREGATIONS, FUNCTIONS, Function
from .values import STALE_NAN, Block, RawSeries, Result, Select, Stats, is_stale

__all__ = [
    "AGGREGATIONS",
    "AGGREGATION_HELP",
    "DEFAULT_LIMITS",
    "EMPTY",
    "FUNCTIONS",
    "METADATA",
    "NAME",
    "STALE_NAN",
    "Block",
    "EvaluationError",
    "Function",
    "Labels",
    "LimitError",
    "Limits",
    "Matcher",
    "ParseError",
    "Query",
    "QueryError",
    "RawSeries",
    "Result",
    "Select",
    "Selector",
    "SplitCondition",
    "Stats",
    "instant",
    "is_stale",
    "matches_all",
    "parse",
    "parse_matchers",
    "range_",
    "split_condition",
]
