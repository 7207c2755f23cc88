"""The optimizer again, written to be read: one candidate at a time, one participant at a time,
money as fractions. Nothing here is shared with `fedspan.placement` but the book itself, so that
where both agree, both are right or PLACEMENT.md is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from itertools import combinations

EARTH_KM = 6371.0
WINDOW = 4 * 2**20
TRIPS = 4
SETUP_S = 180.0
RECOVERY_S = 240.0
HERE_SETUP_S = 5.0
HERE_RECOVERY_S = 15.0
OVERHEAD_S = 1.0
NEGLIGIBLE = 1e-6
AGGREGATES = 2e9
LEAST_RTT_MS = 0.5
INTERCEPT_MS = 3.0
NEAR_KM = 300.0
SHRINK = 0.05

OCEANIA = set(
    "AU NZ FJ PG NC PF WS TO VU SB KI MH FM PW NR TV GU MP AS CK NU WF TK NF".split()  # noqa: SIM905 - as it is written down
)

CONSTRAINTS = (
    "aggregator.need.vcpus",
    "aggregator.need.memory_mib",
    "aggregator.need.arch",
    "aggregator.need.gpu",
    "aggregator.regions.allow",
    "aggregator.regions.deny",
    "aggregator.purchase",
    "placement.estimates",
    "placement.price_days",
    "participants",
    "limits.max_rtt_ms",
    "limits.deadline",
    "limits.round",
    "limits.budget_usd",
    "limits.max_interruption",
)
"""In the order in which a person hears of them."""


@dataclass(frozen=True)
class Scored:
    """One candidate. Micro-dollars are exact for the seconds they rest on; they are None where
    the job never ends. `promised` is what a deadline is held against. `deciding_ms` holds the RTT
    of every participant that may be called the slowest (those that tie are equals)."""

    price_row: int
    region_row: int
    tier: str
    provider: str
    region: str
    machine: str
    spot: bool
    round_seconds: float
    seconds: float
    vm: Fraction | None
    egress: Fraction | None
    address: Fraction | None
    participants_pay: Fraction | None
    deciding_ms: frozenset[float]
    max_rtt_ms: float
    p_interruption: float
    basis: int
    dated: int
    gco2: float
    promised: float
    violated: frozenset[str]

    @property
    def key(self):
        return (self.provider, self.region, self.machine, self.spot, self.tier)

    @property
    def total(self):
        return self.vm + self.egress + self.address + self.participants_pay

    @property
    def usd(self):
        return float(self.total / 1_000_000)

    @property
    def hours(self):
        return self.seconds / 3600

    @property
    def feasible(self):
        return not self.violated


# Distance and RTT


def km(here, there):
    """Along the great circle, by the haversine formula; places are (latitude, longitude)."""
    lat1, lon1, lat2, lon2 = (math.radians(float(x)) for x in (*here, *there))
    h = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * EARTH_KM * math.asin(math.sqrt(min(1.0, h)))


def place_of_region(book, row):
    """None: this computer."""
    place = (float(book.regions.latitude[row]), float(book.regions.longitude[row]))
    return None if any(math.isnan(x) for x in place) else place


def place_of(book, participant):
    """None: nobody knows."""
    if participant.latitude is not None:
        return (participant.latitude, participant.longitude)
    if participant.cloud is not None:
        return place_of_region(book, book.regions.index[participant.cloud])
    return None


def nearest_region(book, place):
    placed = [row for row in range(len(book.regions)) if place_of_region(book, row)]
    return min(placed, key=lambda row: km(place_of_region(book, row), place))


def continent_of(book, participant):
    """None: nobody knows."""
    place = place_of(book, participant)
    return None if place is None else book.regions.continent[nearest_region(book, place)]


def usual_slope(book, one, other):
    """ms per km between two continents."""
    slopes = book.anchors.slopes
    return slopes.get("-".join(sorted([one, other])), slopes["*"]) / 1000


def estimated_rtt_ms(book, participant, region_row):
    here, there = place_of(book, participant), place_of_region(book, region_row)
    anchors = book.anchors
    places = [
        (float(a), float(b)) for a, b in zip(anchors.latitude, anchors.longitude, strict=True)
    ]
    above = SHRINK * usual_slope(
        book, continent_of(book, participant), book.regions.continent[region_row]
    )
    below = SHRINK
    for a, one in enumerate(places):
        for b, other in enumerate(places):
            rtt = float(anchors.rtt_ms[a][b])
            apart = km(one, other)
            if a == b or math.isnan(rtt) or apart < 100:
                continue
            weight = math.exp(-km(here, one) / NEAR_KM) * math.exp(-km(there, other) / NEAR_KM)
            above += weight * (rtt - INTERCEPT_MS) / apart
            below += weight
    return INTERCEPT_MS + above / below * km(here, there)


def rtt_ms(book, participant, region_row):
    """Infinite where nobody knows."""
    regions = book.regions
    name = f"{regions.provider[region_row]}:{regions.name[region_row]}"
    if name in participant.rtt_ms:
        return max(LEAST_RTT_MS, participant.rtt_ms[name])
    if place_of_region(book, region_row) is None:
        return LEAST_RTT_MS
    if place_of(book, participant) is None:
        return math.inf
    return max(LEAST_RTT_MS, estimated_rtt_ms(book, participant, region_row))


# Time


def compute_s(participant):
    return 30.0 if participant.compute_s is None else participant.compute_s


def bytes_a_second(mbps):
    return (100.0 if mbps is None else mbps) * 1e6 / 8


@dataclass(frozen=True)
class Messages:
    """What a round sends: `down` is a model with its program, `up` a model alone. Of `many`
    participants so many are `trained`, and so many `evaluated`: each is one message down, and
    training one up."""

    down: int
    up: int
    many: int
    trained: int
    evaluated: int

    @property
    def down_each(self):
        """Bytes, of all participants."""
        return Fraction((self.trained + self.evaluated) * self.down, self.many)

    @property
    def up_each(self):
        return Fraction(self.trained * self.up, self.many)


def messages(question, participants, model_bytes, program_bytes):
    many, told = len(participants), question.strategy.options if question.strategy else {}
    least = question.quorum or many

    def chosen(option):
        return max(least, math.floor(many * told.get(option, 1.0)))

    return Messages(
        down=model_bytes + program_bytes,
        up=model_bytes,
        many=many,
        trained=chosen("fraction_train"),
        evaluated=chosen("fraction_evaluate"),
    )


def participant_s(participant, rtt, sent):
    """What one participant takes for one round, `rtt` in ms."""
    if math.isinf(rtt):
        return math.inf
    seconds = rtt / 1000
    down = min(bytes_a_second(participant.down_mbps), WINDOW / seconds)
    up = min(bytes_a_second(participant.up_mbps), WINDOW / seconds)
    return compute_s(participant) + TRIPS * seconds + 2 * sent.down / down + sent.up / up


def last_needed(values, quorum):
    return sorted(values)[(quorum or len(values)) - 1]


def round_s(participants, rtts, quorum, sent, nic_mbps):
    first = last_needed(
        [participant_s(p, rtt, sent) for p, rtt in zip(participants, rtts, strict=True)], quorum
    )
    if math.inf in rtts:  # nobody knows: it is ruled out, and not for its time besides
        first = 0.0
    bytes_down = (sent.trained + sent.evaluated) * sent.down
    through = (bytes_down + sent.trained * sent.up) / (nic_mbps * 1e6 / 8)
    computed = last_needed([compute_s(p) for p in participants], quorum)
    return max(first, computed + through) + sent.trained * sent.up / AGGREGATES + OVERHEAD_S


def expm1(x):
    try:
        return math.expm1(x)
    except OverflowError:
        return math.inf


def uninterrupted_s(length, per_second):
    """Expected seconds until `length` seconds went by without an interruption, where each next
    try begins at once."""
    return length if per_second == 0 else expm1(per_second * length) / per_second


def segment_s(length, per_second, recovery=RECOVERY_S):
    """The same where each next try begins with a recovery, which may be interrupted too."""
    losses = expm1(per_second * length)
    again = losses * uninterrupted_s(recovery, per_second) if losses else 0.0
    return uninterrupted_s(length, per_second) + again


def segments(rounds, every):
    """How many rounds each stretch between checkpoints has."""
    found = []
    while rounds > 0:
        found.append(min(every, rounds))
        rounds -= found[-1]
    return found


def checkpoint_s(size):
    return 0.5 + size / 100e6


def job_s(a_round, rounds, every, size, per_second, here=False):
    """`here`: on this computer a process starts at once, where a cloud starts a machine."""
    checkpoint = checkpoint_s(size)
    recovery = HERE_RECOVERY_S if here else RECOVERY_S
    expected = uninterrupted_s(HERE_SETUP_S if here else SETUP_S, per_second)
    for many in segments(rounds, every):
        expected += segment_s(many * a_round + checkpoint, per_second, recovery)
    return expected


def rounds_begun(a_round, rounds, every, checkpoint, per_second):
    """Expected rounds, those that a loss undid among them. Of a stretch of m: as often as one
    throws a die until m throws in a row succeed, each of them by the chance e^(-L t), and then
    the checkpoint by the chance e^(-L C)."""
    if per_second == 0:
        return float(rounds)
    fails = -math.expm1(-per_second * a_round)
    begun = 0.0
    for many in segments(rounds, every):
        begun += expm1(per_second * a_round * many) / fails
    return begun * math.exp(per_second * checkpoint)


# Money


def tariff_cost(tariff, units):
    """What `units` of a month cost from the first on, in micro-dollars."""
    cost = Fraction(0)
    for k, price in enumerate(tariff.price):
        start = Fraction(tariff.starts[k])
        end = Fraction(tariff.starts[k + 1]) if k + 1 < len(tariff.starts) else units
        cost += max(Fraction(0), min(units, end) - start) * price
    return cost


def marginal(tariff, used_units, sent_bytes):
    sent = sent_bytes / tariff.unit
    return tariff_cost(tariff, used_units + sent) - tariff_cost(tariff, used_units)


def tariff_number(book, region_row, tier, destination):
    internet = book.egress.internet
    own = internet.get((region_row, tier, destination))
    return internet.get((region_row, tier, "world")) if own is None else own


def destination_in(country):
    if country == "CN":
        return "china"
    return "oceania" if country in OCEANIA else "world"


def destination_of(book, participant):
    if participant.country:
        return destination_in(participant.country)
    return "oceania" if continent_of(book, participant) == "OC" else "world"


def address_cost(book, provider, spot):
    """Micro-dollars an hour; some providers charge less for the address of a spot machine."""
    usual = book.egress.address.get(provider, 0)
    return book.egress.address.get(f"{provider}:spot", usual) if spot else usual


def cloud_row(book, participant):
    return None if participant.cloud is None else book.regions.index[participant.cloud]


def between(book, sender, receiver, sent_bytes):
    rate = Fraction(int(book.egress.between[sender][receiver]))
    return rate * sent_bytes / book.egress.between_unit


def egress_cost(book, placement, participants, region_row, tier, each):
    """Micro-dollars for sending `each` bytes to each participant."""
    provider = book.regions.provider[region_row]
    cost, by_tariff = Fraction(0), {}
    for participant in participants:
        row = cloud_row(book, participant)
        if row is not None and book.regions.provider[row] == provider:
            cost += between(book, region_row, row, each)
            continue
        number = tariff_number(book, region_row, tier, destination_of(book, participant))
        if number is not None:
            by_tariff[number] = by_tariff.get(number, Fraction(0)) + each
    used = Fraction(placement.egress_used_gb.get(provider, 0.0))
    for number, sent in by_tariff.items():
        cost += marginal(book.egress.tariffs[number], used, sent)
    return cost


def participants_cost(book, participants, region_row, each):
    """Micro-dollars that those in public clouds pay to send `each` bytes."""
    towards = destination_in(book.regions.country[region_row])
    cost = Fraction(0)
    for participant in participants:
        row = cloud_row(book, participant)
        if row is None:
            continue
        its = book.regions.provider[row]
        if its == book.regions.provider[region_row]:
            cost += between(book, row, region_row, each)
            continue
        number = tariff_number(book, row, book.egress.tiers[its][0], towards)
        if number is not None:
            cost += marginal(book.egress.tariffs[number], Fraction(0), each)
    return cost


# Constraints


def is_in(book, region_row, entry):
    """Whether a region is what one entry of allow or deny speaks of."""
    regions = book.regions
    provider, name = regions.provider[region_row], regions.name[region_row]
    if entry == "eu":
        return bool(regions.eu[region_row])
    if entry == "eea":
        return bool(regions.eea[region_row])
    return entry in (provider, name, f"{provider}:{name}", regions.country[region_row])


def broken(book, question, today, price_row, rtts, a_round, seconds, usd, p_interruption):
    """Names of the constraints that a candidate violates."""
    machines, prices = book.machines, book.prices
    machine, region = int(prices.machine[price_row]), int(prices.region[price_row])
    spot = bool(prices.spot[price_row])
    need, places = question.aggregator.need, question.aggregator.regions
    limits, placement = question.limits, question.placement
    if need.gpu is None:
        fits = machines.gpus[machine] == 0
    else:
        fits = machines.gpus[machine] >= need.gpu.count and need.gpu.model in (
            None,
            machines.gpu[machine],
        )
    known = all(math.isfinite(rtt) for rtt in rtts)
    age = today - (date(1970, 1, 1) + timedelta(days=int(prices.dated[price_row])))
    holds = {
        "aggregator.need.vcpus": machines.vcpus[machine] >= need.vcpus,
        "aggregator.need.memory_mib": machines.memory_mib[machine] >= need.memory_mib,
        "aggregator.need.arch": need.arch is None or machines.arch[machine] == need.arch,
        "aggregator.need.gpu": fits,
        "aggregator.regions.allow": not places.allow
        or any(is_in(book, region, entry) for entry in places.allow),
        "aggregator.regions.deny": not any(is_in(book, region, entry) for entry in places.deny),
        "aggregator.purchase": question.aggregator.purchase
        in ("any", "deadline", "spot" if spot else "on_demand"),
        "placement.estimates": placement.estimates or prices.basis[price_row] != 2,
        "placement.price_days": placement.price_days is None or age.days <= placement.price_days,
        "participants": known,
        "limits.max_rtt_ms": limits.max_rtt_ms is None
        or not known
        or max(rtts) <= limits.max_rtt_ms,
        "limits.deadline": seconds <= limits.deadline,
        "limits.round": a_round <= limits.round,
        "limits.budget_usd": limits.budget_usd is None or usd <= limits.budget_usd,
        "limits.max_interruption": limits.max_interruption is None
        or p_interruption <= limits.max_interruption,
    }
    assert tuple(holds) == CONSTRAINTS
    return frozenset(name for name, held in holds.items() if not held)


# All candidates


def hazard(question, book, price_row):
    """Interruptions a second while it is up."""
    if not book.prices.spot[price_row]:
        return 0.0
    told = question.placement.interruptions_per_hour
    an_hour = float(book.prices.interruptions[price_row]) if told is None else told
    return 0.0 if an_hour < NEGLIGIBLE else an_hour / 3600


def candidate(book, question, participants, rtts, sent, today, price_row, tier):
    """`rtts` are those of the participants to the region of the price."""
    prices, regions, machines = book.prices, book.regions, book.machines
    region, machine = int(prices.region[price_row]), int(prices.machine[price_row])
    provider = regions.provider[region]
    size = sent.up
    each = [participant_s(p, rtt, sent) for p, rtt in zip(participants, rtts, strict=True)]
    slowest = last_needed(each, question.quorum)
    a_round = round_s(participants, rtts, question.quorum, sent, float(machines.nic_mbps[machine]))
    per_second = hazard(question, book, price_row)
    placement = question.placement
    here = place_of_region(book, region) is None
    seconds = job_s(a_round, question.rounds, placement.checkpoint_every, size, per_second, here)
    vm = egress = address = pay = None
    if math.isfinite(seconds):
        hours = Fraction(seconds) / 3600
        vm = int(prices.price[price_row]) * hours
        address = address_cost(book, provider, bool(prices.spot[price_row])) * hours
        begun = Fraction(
            rounds_begun(
                a_round,
                question.rounds,
                placement.checkpoint_every,
                checkpoint_s(size),
                per_second,
            )
        )
        egress = egress_cost(book, placement, participants, region, tier, sent.down_each * begun)
        pay = participants_cost(book, participants, region, sent.up_each * begun)
    p_interruption = 0.0 if per_second == 0 else -math.expm1(-per_second * seconds)
    usd = math.inf if vm is None else float((vm + egress + address + pay) / 1_000_000)
    promised = seconds
    if question.aggregator.purchase == "deadline" and math.isfinite(seconds):
        promised = job_s(a_round, question.rounds, placement.checkpoint_every, size, 0.0, here)
    return Scored(
        price_row=price_row,
        region_row=region,
        tier=tier,
        provider=provider,
        region=regions.name[region],
        machine=machines.name[machine],
        spot=bool(prices.spot[price_row]),
        round_seconds=a_round,
        seconds=seconds,
        vm=vm,
        egress=egress,
        address=address,
        participants_pay=pay,
        deciding_ms=frozenset(
            rtt
            for rtt, its in zip(rtts, each, strict=True)
            if its == slowest or abs(its - slowest) <= 1e-9 * slowest
        ),
        max_rtt_ms=max(rtts),
        p_interruption=p_interruption,
        basis=int(prices.basis[price_row]),
        dated=int(prices.dated[price_row]),
        gco2=float(regions.gco2[region]),
        promised=promised,
        violated=broken(
            book, question, today, price_row, rtts, a_round, promised, usd, p_interruption
        ),
    )


def tiers_in(book, region_row):
    """The default of its provider, and others where they have a price."""
    first, *others = book.egress.tiers[book.regions.provider[region_row]]
    return [first, *(one for one in others if (region_row, one, "world") in book.egress.internet)]


def evaluate(book, question, participants, *, model_bytes, program_bytes=0, today):
    """Every candidate: price row by price row, and for each the network tiers of its provider."""
    rtts = [
        [rtt_ms(book, participant, region) for participant in participants]
        for region in range(len(book.regions))
    ]
    sent = messages(question, participants, model_bytes, program_bytes)
    found = []
    for price_row, region in enumerate(book.prices.region.tolist()):
        for tier in tiers_in(book, region):
            found.append(
                candidate(
                    book,
                    question,
                    participants,
                    rtts[region],
                    sent,
                    today,
                    price_row,
                    tier,
                )
            )
    return found


# Choosing


def front(candidates):
    """Those of which no other is as good in both of cost and time, and better in one."""
    return [
        one
        for one in candidates
        if not any(
            other.total <= one.total
            and other.seconds <= one.seconds
            and (other.total < one.total or other.seconds < one.seconds)
            for other in candidates
        )
    ]


@dataclass(frozen=True)
class Scale:
    """What a micro-dollar and a second add to a score; lower is better. Of the balanced score
    `ideal` is taken off: what the best cost and the best time on the front would add."""

    per_micro_usd: Fraction
    per_second: Fraction
    ideal: Fraction

    def of(self, one):
        return self.per_micro_usd * one.total + self.per_second * Fraction(one.seconds) - self.ideal

    def equal_to(self, score):
        """The worst score that counts as equal: half a percent more of cost and time."""
        return score + Fraction(5, 1000) * (score + self.ideal)


def scale(candidates, placement):
    """Of the feasible `candidates`."""
    if placement.score == "money":
        return Scale(Fraction(1, 1_000_000), Fraction(placement.hour_usd) / 3600, Fraction(0))
    best = front(candidates)
    costs, times = [one.total for one in best], [Fraction(one.seconds) for one in best]
    weight = Fraction(placement.balance)
    per_micro_usd = weight * per(costs, least=1_000_000)
    per_second = (1 - weight) * per(times)
    return Scale(per_micro_usd, per_second, per_micro_usd * min(costs) + per_second * min(times))


def per(values, least=0):
    """One part of the way from the best to the worst, or of the best where that is longer: what
    differs by less than the best itself is not blown up, nor is what differs by cents."""
    measure = max(max(values) - min(values), min(values), least)
    return 1 / Fraction(measure) if measure else Fraction(0)


def tie_key(one, score=Fraction(0)):
    return (
        one.p_interruption,
        one.max_rtt_ms,
        one.basis,
        -one.dated,
        math.inf if math.isnan(one.gco2) else one.gco2,
        score,
        *one.key,
    )


def groups(candidates, placement):
    """The feasible, the best first, as lists of (score, candidate) that count as equal."""
    fit = [one for one in candidates if one.feasible]
    if not fit:
        return []
    by = scale(fit, placement)
    left = sorted(((by.of(one), one) for one in fit), key=lambda pair: (pair[0], pair[1].key))
    found = []
    while left:
        bound = by.equal_to(left[0][0])
        group = [pair for pair in left if pair[0] <= bound]
        left = left[len(group) :]
        found.append(sorted(group, key=lambda pair: tie_key(pair[1], pair[0])))
    return found


def ranked(candidates, placement):
    return [pair for group in groups(candidates, placement) for pair in group]


def conflict(candidates):
    """The smallest set of constraints that no candidate satisfies all of; None if all can be."""
    for size in range(len(CONSTRAINTS) + 1):
        for names in combinations(CONSTRAINTS, size):
            if all(one.violated & set(names) for one in candidates):
                return names
    return None
