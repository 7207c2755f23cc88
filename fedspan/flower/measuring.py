"""What an agent measures when it is told to, beside its heartbeats.

In a forked child: a name that does not resolve may take seconds, and whoever forks workers keeps
one thread (`fedspan.flower.warm`). The child leaves its answer in a file.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from fedspan.domain.measurements import Asked, Measured, Probed
from fedspan.flower.warm import Child, Family
from fedspan.probing import Probe


class Measuring:
    """Follows what is asked, one request at a time."""

    def __init__(self, family: Family, work: Path, probe: Probe) -> None:
        self._family = family
        self._file = work / "measured.json"
        self._probe = probe
        self._asked: Asked | None = None
        self._child: Child | None = None
        self._answer: Measured | None = None

    @property
    def answer(self) -> Measured | None:
        """To be reported as long as it is asked for."""
        return self._answer

    def follow(self, asked: Asked | None) -> bool:
        """Begin what is asked, let go of what is asked no more. Whether an answer is new."""
        if asked is None or self._asked is None or asked.id != self._asked.id:
            self._let_go()
            self._asked = asked
        if self._asked is None or self._answer is not None:
            return False
        if self._child is None:
            self._begin(self._asked)
            return False
        if self._child.alive:
            return False
        self._answer = self._read(self._asked, self._child)
        return True

    def _let_go(self) -> None:
        if self._child is not None and self._child.alive:
            self._family.stop(self._child)
        self._asked = self._child = self._answer = None

    def _begin(self, asked: Asked) -> None:
        self._file.unlink(missing_ok=True)

        def work() -> None:
            told = Measured(request=asked.id, probed=self._probe.measure(asked.regions))
            self._file.write_text(told.model_dump_json(), encoding="utf-8")

        self._child = self._family.fork("probe", work)

    def _read(self, asked: Asked, child: Child) -> Measured:
        """A child that failed is an answer too, or it would be asked for ever."""
        try:
            return Measured.model_validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            failed = (Probed(region=region, error=child.ended) for region in asked.regions)
            return Measured(request=asked.id, probed=tuple(failed))
