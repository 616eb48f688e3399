"""PromQL over numpy: parse a question, answer it from blocks of samples.

Pure: no Django, no I/O, no clock but the monotonic one of the time limit. Storage is one function, ``Select``.
"""

from .errors import EvaluationError, LimitError, ParseError, QueryError
from .evaluate import instant, range_, requirements
from .labels import EMPTY, METADATA, NAME, Labels
from .limits import DEFAULT_LIMITS, Limits
from .matchers import Matcher, matches_all
from .plan import Requirement
from .query import Query, Selector, SplitCondition, parse, parse_matchers, split_condition, suggest_metrics
from .signatures import AGGREGATION_HELP, AGGREGATIONS, FUNCTIONS, Function
from .slot import SlotSelect
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
    "Requirement",
    "Result",
    "Select",
    "Selector",
    "SlotSelect",
    "SplitCondition",
    "Stats",
    "instant",
    "is_stale",
    "matches_all",
    "parse",
    "parse_matchers",
    "range_",
    "requirements",
    "split_condition",
    "suggest_metrics",
]
