"""The providers there are: those an installation always has, and one of each credential."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from typing import Final, NoReturn

from fedspan.domain.credentials import Sealed
from fedspan.domain.machines import Machine, MachineSpec, Offer
from fedspan.domain.spec import Need
from fedspan.errors import CredentialRejected, FedspanError, ProviderError
from fedspan.keys.base import MasterKey
from fedspan.providers.base import Capabilities, Clouds, Provider
from fedspan.services.sealing import secret_of
from fedspan.stores.base import Store
from fedspan.stores.records import Table


class Registered(Mapping[str, Provider]):
    """What is registered, rotated or deleted counts at once: each look reads the store, while a
    provider is kept as long as its sealed secret stays the same."""

    def __init__(
        self, store: Store, keys: MasterKey, clouds: Clouds, static: Mapping[str, Provider]
    ) -> None:
        self._sealed: Final = Table(store, "sealed", Sealed)
        self._keys = keys
        self._clouds = clouds
        self._static = dict(static)
        self._open: dict[str, tuple[Sealed, Provider]] = {}

    def __getitem__(self, name: str) -> Provider:
        if name in self._static:
            return self._static[name]
        found = self._sealed.find(name)
        if found is None:
            raise KeyError(name)
        return self._provider(name, found.value)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._static, *self._sealed.ids()]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def items(self) -> ItemsView[str, Provider]:
        """By one look at the store, as `values` too."""
        sealed = {name: one for name, one in self._sealed.all() if name not in self._static}
        for name in set(self._open) - set(sealed):
            self._open.pop(name, None)  # another thread may have done it
        opened = {name: self._provider(name, one) for name, one in sealed.items()}
        return {**self._static, **opened}.items()

    def values(self) -> ValuesView[Provider]:
        return dict(self.items()).values()

    def _provider(self, name: str, sealed: Sealed) -> Provider:
        known = self._open.get(name)
        if known is not None and known[0] == sealed:
            return known[1]
        try:
            made = self._clouds.provider(name, secret_of(name, sealed, self._keys))
        except FedspanError as exc:
            return Closed(name, exc)  # tried again the next time
        self._open[name] = (sealed, made)
        return made


@dataclass(frozen=True, slots=True)
class Closed:
    """A credential that could not be opened just now: it says why, and hides no other cloud."""

    name: str
    why: FedspanError

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(roles=frozenset())

    def offers(self, need: Need) -> Sequence[Offer]:
        self._refuse()

    def launch(self, job: str, spec: MachineSpec) -> Machine:
        self._refuse()

    def machines(self, job: str | None = None) -> Sequence[Machine]:
        self._refuse()

    def terminate(self, machine: Machine) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        """A cloud that cannot be asked, to all who ask several."""
        kind = type(self.why) if isinstance(self.why, ProviderError) else CredentialRejected
        raise kind(f"credential {self.name} cannot be opened: {self.why}") from self.why
