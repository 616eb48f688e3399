"""Which alert an element of a rule's result is: its labels, overridden by the rule's, then `alertname`.

Hides that building 10,000 label sets in every evaluation would cost more than the query: one made before is kept.
"""

from collections.abc import Mapping, Sequence

from alerts.engine import template
from alerts.engine.template import Context, Surroundings
from monitoring.promql import NAME, Labels

ALERT_NAME = "alertname"
SEVERITY = "severity"

# Identities that no evaluation asks for any more go once the cache holds this many more than are in use.
_SPARE = 10_000
_NOWHERE = Surroundings()


class IdentityBuilder:
    """Builds the alert label sets of one rule (PA-2). TemplateError when a label's template is wrong.

    labels: the rule's own, name to template text; a label that expands to "" is removed.
    """

    def __init__(self, alertname: str, labels: Mapping[str, str]) -> None:
        """Compile the label templates."""
        templates = {name: template.compile(text, f"__alert_{alertname}") for name, text in labels.items()}
        self._alertname = alertname
        self._constant = {name: found.text for name, found in templates.items() if found.parts in ((), (found.text,))}
        self._templates = {name: found for name, found in templates.items() if name not in self._constant}
        used = frozenset[str]().union(*(found.uses for found in self._templates.values()))
        self._is_cacheable = used <= {"labels", "severity"}
        self.is_stable = used <= {"labels", "severity", "external"}
        """True when a series keeps its identity whatever its value; else "no data" cannot be told from "false"."""
        self._known: dict[str, dict[Labels, Labels]] = {}

    def many(
        self,
        elements: Sequence[Labels],
        values: Sequence[float],
        severity: str = "",
        thresholds: Sequence[float | None] | None = None,
        surroundings: Surroundings = _NOWHERE,
    ) -> list[Labels]:
        """Return the identity of each element, in order; `severity`, when given, overrides that label."""
        if self._is_cacheable:
            return self._cached(elements, severity)
        limits = thresholds or [None] * len(elements)
        return [
            self.one(element, value, severity, limit, surroundings)
            for element, value, limit in zip(elements, values, limits, strict=True)
        ]

    def one(
        self,
        element: Labels,
        value: float,
        severity: str = "",
        threshold: float | None = None,
        surroundings: Surroundings = _NOWHERE,
    ) -> Labels:
        """Return the identity of one element."""
        labels = element.as_dict()
        labels.pop(NAME, None)
        labels.update(self._constant)
        if self._templates:
            context = Context(element, value, threshold, severity, surroundings)
            labels.update({name: template.expand(found, context) for name, found in self._templates.items()})
        if severity:
            labels[SEVERITY] = severity
        labels[ALERT_NAME] = self._alertname
        return Labels.of(labels)

    def _cached(self, elements: Sequence[Labels], severity: str) -> list[Labels]:
        known = self._known.setdefault(severity, {})
        found = [known.get(element) for element in elements]
        for position, identity in enumerate(found):
            if identity is None:
                found[position] = known[elements[position]] = self.one(elements[position], 0.0, severity)
        identities = [identity for identity in found if identity is not None]
        if len(known) > len(elements) + _SPARE:
            self._known[severity] = dict(zip(elements, identities, strict=True))
        return identities
