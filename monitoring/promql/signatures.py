"""The functions and aggregations of PromQL: names, argument types and one line of help each.

After Prometheus' promql/parser/functions.go; used by the parser to check types and by pages to complete and explain.
"""

from __future__ import annotations

from dataclasses import dataclass

from .nodes import MATRIX, SCALAR, STRING, VECTOR

_LETTERS = {"v": VECTOR, "m": MATRIX, "s": SCALAR, "t": STRING}
_SHOWN = {VECTOR: "vector", MATRIX: "range", SCALAR: "scalar", STRING: "string"}


@dataclass(frozen=True, slots=True)
class Function:
    """One function: argument types, how many more of the last may come (-1: any), what it returns.

    ``optional`` counts as in functions.go: with n > 0 the last argument may be left out or come up to n times.
    """

    name: str
    args: tuple[str, ...]
    optional: int
    returns: str
    help: str
    experimental: bool = False

    @property
    def signature(self) -> str:
        """The call as help shows it: ``rate(range) vector``."""
        shown = [_SHOWN[kind] for kind in self.args]
        if self.optional and shown:
            shown[-1] = f"[{shown[-1]}]" if self.optional == 1 else f"[{shown[-1]}...]"
        return f"{self.name}({', '.join(shown)}) {_SHOWN[self.returns]}"


# name, arguments, optional, returns, help; a leading ! marks what Prometheus calls experimental.
_TABLE = """
abs                          v     0  v  absolute value
absent                       v     0  v  1 when the vector is empty
absent_over_time             m     0  v  1 when no series has a sample in the range
acos                         v     0  v  arc cosine, radians
acosh                        v     0  v  inverse hyperbolic cosine
asin                         v     0  v  arc sine, radians
asinh                        v     0  v  inverse hyperbolic sine
atan                         v     0  v  arc tangent, radians
atanh                        v     0  v  inverse hyperbolic tangent
avg_over_time                m     0  v  mean of the samples in the range
ceil                         v     0  v  rounds up to an integer
changes                      m     0  v  how often the value changed in the range
clamp                        vss   0  v  holds values between a minimum and a maximum
clamp_max                    vs    0  v  holds values at or below a maximum
clamp_min                    vs    0  v  holds values at or above a minimum
cos                          v     0  v  cosine of radians
cosh                         v     0  v  hyperbolic cosine
count_over_time              m     0  v  number of samples in the range
days_in_month                v     1  v  days of the month of a Unix time, UTC
day_of_month                 v     1  v  day of the month of a Unix time, UTC, from 1
day_of_week                  v     1  v  day of the week of a Unix time, UTC, 0 is Sunday
day_of_year                  v     1  v  day of the year of a Unix time, UTC, from 1
deg                          v     0  v  radians to degrees
delta                        m     0  v  difference between last and first value of a gauge, extrapolated to the range
deriv                        m     0  v  slope per second by linear regression
!double_exponential_smoothing mss   0  v  smoothed value with trend (smoothing factor, trend factor)
!end                          -     0  s  end of the query's range, Unix seconds
exp                          v     0  v  e to the power of the value
!first_over_time              m     0  v  oldest sample in the range
floor                        v     0  v  rounds down to an integer
histogram_avg                v     0  v  average of native histograms
histogram_count              v     0  v  count of native histograms
histogram_sum                v     0  v  sum of native histograms
histogram_stddev             v     0  v  estimated standard deviation of native histograms
histogram_stdvar             v     0  v  estimated variance of native histograms
histogram_fraction           ssv   0  v  fraction of observations between two bounds
histogram_quantile           sv    0  v  quantile estimated from histogram buckets
!histogram_quantiles          vtss  9  v  several quantiles at once, in a label of the given name
hour                         v     1  v  hour of a Unix time, UTC
idelta                       m     0  v  difference of the last two samples
increase                     m     0  v  increase of a counter over the range, extrapolated
!info                         vv    1  v  adds the labels of info metrics
irate                        m     0  v  per-second rate of the last two samples of a counter
label_replace                vtttt 0  v  sets a label from a regular expression over another
label_join                   vttt  -1 v  joins label values into a label
last_over_time               m     0  v  newest sample in the range
ln                           v     0  v  natural logarithm
log10                        v     0  v  decimal logarithm
log2                         v     0  v  binary logarithm
!mad_over_time                m     0  v  median absolute deviation of the samples in the range
!max_of                       ss    0  s  the larger of two scalars
!min_of                       ss    0  s  the smaller of two scalars
max_over_time                m     0  v  largest sample in the range
min_over_time                m     0  v  smallest sample in the range
minute                       v     1  v  minute of a Unix time, UTC
month                        v     1  v  month of a Unix time, UTC, from 1
pi                           -     0  s  the number pi
predict_linear               ms    0  v  value so many seconds ahead by linear regression
present_over_time            m     0  v  1 for every series with a sample in the range
quantile_over_time           sm    0  v  quantile of the samples in the range
rad                          v     0  v  degrees to radians
!range                        -     0  s  length of the query's range, seconds
rate                         m     0  v  per-second rate of a counter over the range, extrapolated
resets                       m     0  v  how often a counter was reset in the range
round                        vs    1  v  rounds to the nearest multiple
scalar                       v     0  s  the value of a vector of one series, else NaN
sgn                          v     0  v  sign of the value: -1, 0 or 1
sin                          v     0  v  sine of radians
sinh                         v     0  v  hyperbolic sine
sort                         v     0  v  sorts an instant result by value
sort_desc                    v     0  v  sorts an instant result by value, largest first
!sort_by_label                vt    -1 v  sorts an instant result by labels, naturally
!sort_by_label_desc           vt    -1 v  sorts an instant result by labels, naturally, last first
sqrt                         v     0  v  square root
!start                        -     0  s  start of the query's range, Unix seconds
!start_timestamp              v     0  v  start time of the samples
stddev_over_time             m     0  v  standard deviation of the samples in the range
stdvar_over_time             m     0  v  variance of the samples in the range
!step                         -     0  s  step of the query, seconds
sum_over_time                m     0  v  sum of the samples in the range
tan                          v     0  v  tangent of radians
tanh                         v     0  v  hyperbolic tangent
time                         -     0  s  evaluation time, Unix seconds
timestamp                    v     0  v  time of the samples, Unix seconds
!ts_of_first_over_time        m     0  v  time of the oldest sample in the range
!ts_of_last_over_time         m     0  v  time of the newest sample in the range
!ts_of_max_over_time          m     0  v  time of the last largest sample in the range
!ts_of_min_over_time          m     0  v  time of the last smallest sample in the range
vector                       s     0  v  a scalar as a vector without labels
year                         v     1  v  year of a Unix time, UTC
"""


def _functions() -> dict[str, Function]:
    table = {}
    for line in _TABLE.strip().splitlines():
        name, letters, optional, returns, text = line.split(None, 4)
        bare = name.lstrip("!")
        args = tuple(_LETTERS[letter] for letter in letters if letter != "-")
        table[bare] = Function(bare, args, int(optional), _LETTERS[returns], text, name != bare)
    return table


#: Every function by name.
FUNCTIONS: dict[str, Function] = _functions()

#: Aggregations, with the type of their parameter (None: they take none).
AGGREGATIONS: dict[str, str | None] = {
    "sum": None,
    "avg": None,
    "min": None,
    "max": None,
    "count": None,
    "group": None,
    "stddev": None,
    "stdvar": None,
    "topk": SCALAR,
    "bottomk": SCALAR,
    "quantile": SCALAR,
    "count_values": STRING,
    "limitk": SCALAR,
    "limit_ratio": SCALAR,
}

#: What each aggregation answers, for completion and help.
AGGREGATION_HELP: dict[str, str] = {
    "sum": "sum of the values of each group",
    "avg": "mean of the values of each group",
    "min": "smallest value of each group",
    "max": "largest value of each group",
    "count": "number of series in each group",
    "group": "1 for each group",
    "stddev": "standard deviation of each group",
    "stdvar": "variance of each group",
    "topk": "the k series with the largest values",
    "bottomk": "the k series with the smallest values",
    "quantile": "quantile of the values of each group",
    "count_values": "number of series with the same value, the value in a label",
    "limitk": "any k series of each group",
    "limit_ratio": "a steady sample of the series of each group",
}
