r"""The patterns of what can tell who somebody is, in the order in which they are looked for.

In comes text whose full-width signs are plain ones; out come the places of each kind. The one thing to know: `\d` means
0 to 9 here, every pattern is bounded, so no text makes it slow, and what only looks like a kind goes through a check.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from behavior_tasks.data.masker_checks import is_barcode, is_card, is_ipv6, is_resident_id

Kind = Literal["url", "email", "ip", "id", "card", "phone", "address"]
HAN = r"[\u4e00-\u9fff]"
NO_DIGIT_BEFORE, NO_DIGIT_AFTER = r"(?<![\d.])(?<!\d[-/])", r"(?![-/]?\d)"
EMAIL = (
    rf"[a-z0-9_.+%'-]{{1,64}}@(?:[a-z0-9-]|{HAN}){{1,63}}(?:\.[a-z0-9-]{{1,63}}){{1,4}}"
    r"|\b[a-z0-9_.+-]{2,64}\s?[\[({]\s?at\s?[\])}]\s?[a-z0-9-]{2,63}(?:\s?(?:\.|[\[({]\s?dot\s?[\])}])\s?[a-z]{2,24}){1,3}"
    r"|\b[a-z0-9_.+-]{2,64}\sat\s[a-z0-9-]{2,63}\sdot\s(?:com|net|org|de|fr|uk|cn|io|edu|info)\b"
)
URL = r"(?:https?://|www\.)[!#-&(-;=?-~]{1,500}"
PERSONAL_URL = re.compile(
    r"[?#@=]|//[^/]*:[^/]*@|~|/(?:u|user|users|profile|profiles|people|in|member|members|account|accounts|id|home)/"
    r"|facebook|instagram|linkedin|twitter|tiktok|weibo|vk\.com|t\.me|wa\.me|\d{5}"
)
"""What of a web address may name a person: a query, a user's page, a social network, a long number."""
IPV4 = (
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:/\d{1,2}\b|:\d{2,5}\b)?(?![\w.]*\d)"
)
VERSION = re.compile(r"(?:\bv|\bver\.?|version|firmware|release|build|sdk|driver|版本|固件)\s?$")
IPV6 = r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9a-f]{0,4})(?![\w:])"
RESIDENT_ID = r"(?<![\w-])(?:\d{6}(?:\s?\d{8}\s?\d{3}|-\d{8}-\d{3})[\dx]|\d{15})(?![\w-])"
CARD = r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])"
CALLED = (
    r"(?:(?:\b(?:tel|telephone|phone|mobile|cell|call|whats ?app|fax|sms)|电话|手机号?|联系方式|微信|致电|座机|热线)"
    r"(?:[\s:：.#]{0,3}(?:no\.?|number|me|at|on|is|号码?|是|为)?){0,3}[\s:：.#]{0,3})"
)
PHONES = (
    # International: a plus, a country and seven digits or more in groups.
    r"(?<![\w+])\+\s?[1-9]\d{0,2}(?:[\s.()/-]{0,2}\d){7,12}(?!\d)",
    r"(?<![\w.-])00(?:1|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|7|8[1246]|9[0-58])(?:[\s.()/-]{1,2}\d{2,4}){2,5}(?![\w-])",
    # China: mobile, and landline with its area.
    rf"{NO_DIGIT_BEFORE}(?<![a-z_])(?:(?:\(?86\)?|0086)[\s-]?)?1[3-9]\d(?:[\s-]?\d{{4}}){{2}}{NO_DIGIT_AFTER}(?![a-z_])",
    rf"{NO_DIGIT_BEFORE}\(?0(?:10|2\d|[3-9]\d{{2}})\)?[\s-]?[2-9]\d{{2,3}}[\s-]?\d{{4}}(?:[-转]\d{{1,5}})?{NO_DIGIT_AFTER}",
    # North America, Britain, France, Germany.
    r"(?<![\w.-])(?:1[\s.-])?(?:\([2-9]\d{2}\)[\s.-]?|[2-9]\d{2}([.-]))[2-9]\d{2}(?(1)\1|[\s.-])\d{4}(?![\w-])",
    r"(?<![\w.-])[2-9]\d{2}\s[2-9]\d{2}[\s-]\d{4}(?![\w-])",
    r"(?<![\w.-])\(?0(?:7\d{3}|1\d{2,4}|20|3\d{2}|8\d{2})\)?(?:[\s-]\d{3,4}){1,2}(?:[\s-]?\d{2,4})?(?![\w-])",
    r"(?<![\w.-])07\d{9}(?![\w-])",
    r"(?<![\w.-])0[1-9](?:[ .]\d{2}){4}(?![\w-])",
    r"(?<![\w.-])01[5-7]\d[\s/-]?\d{7,8}(?![\w-])",
)
FEWEST_PHONE_DIGITS = 7
PHONE = re.compile("|".join(f"(?:{pattern})" for pattern in PHONES if r"\1" not in pattern), re.ASCII)
AMERICAN = re.compile(next(pattern for pattern in PHONES if r"\1" in pattern), re.ASCII)
CALLED_PHONE = re.compile(rf"{CALLED}(\(?\+?\d(?:[\s().-]{{0,2}}\d){{6,14}})(?!\d)", re.ASCII)
STREETS = (
    r"street|road|avenue|boulevard|lane|drive|terrace|crescent|highway|parkway|close|court|place|square|way|gardens"
)
SHORT = r"st|rd|ave|blvd|ln|dr|pkwy|hwy|ct|sq|pl"
UNIT = r"(?:apt|apartment|suite|ste|unit|flat|floor|room|#)\.?\s?#?\s?[a-z]?\d{1,5}[a-z]?"
POSTCODE = (
    r"(?:[a-z]{1,2}\d[a-z\d]?\s\d(?!gb|tb)[abd-hjlnp-uw-z]{2}\b"
    r"|(?:[a-z]{3,20}[,\s]{1,2}){1,3}[a-z]{2}[,\s]{1,2}\d{5}(?:-\d{4})?\b)"
)
NO_NAME = (
    "x|in|inch|inches|cm|mm|pc|pcs|piece|pack|set|port|wheel|ft|feet|yard|mile|star|lane|tier|step|slot|way|seat|"
    "gb|tb|hp|watt|volt|l|kg|g|lb|oz|player|person|door|drawer"
)
NAME = rf"(?!(?:{NO_NAME})s?\b)[a-z][a-z'.]{{0,19}}"
ADDRESS_EN = (
    # 12 Main Street, 221B Baker St, Apt 4, 10 Downing Street, London SW1A 2AA
    rf"(?:\b{UNIT}[,\s]{{1,2}})?(?<![\w.$£€#-])\d{{1,5}}[a-z]?,?\s(?:(?:north|south|east|west|[nsew])\.?\s)?(?:{NAME}\s){{1,4}}"
    rf"(?:(?:street|road|avenue|boulevard|terrace|crescent|parkway)\b"
    rf"|(?:lane|drive)\b(?=\s*(?:$|,|;|\.|in\b|near\b|{UNIT}|{POSTCODE}))"
    rf"|(?:{STREETS}|(?:{SHORT})\b\.?)(?=\s*(?:,|{UNIT}|{POSTCODE}))"
    rf"|(?:st|rd|ave|blvd|ln)\b\.?(?=\s*$))"
    rf"(?:[,\s]{{1,2}}{UNIT})?(?:[,\s]{{1,2}}(?:[a-z]{{3,20}}[,\s]{{1,2}}){{0,2}}{POSTCODE})?"
    rf"|(?<![\w.$£€#-])\d{{3,5}}\s(?:[nsew]\.?\s)?(?:{NAME}\s){{1,2}}(?:st|ave|blvd|rd)\b\.?"
    r"|(?<![\w.$£€#-])\d{2,5}\sbroadway\b"
    r"|\bp\.?\s?o\.?\s?box\s#?\d{1,6}\b"
    r"|(?<![\w-])(?:[a-z]{2}\d{1,2}|[a-z]{2}\d[a-z]|[begmnsw]\d{1,2}|[ew]c?\d[a-z])\s\d(?!gb|tb|db|lb|ft|hp|pt|pa|ah)[abd-hjlnp-uw-z]{2}(?![\w-])"
)
NUMBER_ZH = r"(?:\d{1,5}|[一二三四五六七八九十百零〇]{1,5})"
INSIDE_ZH = rf"(?:\s?{NUMBER_ZH}\s?(?:号楼|号院|号|弄|栋|幢|座|单元|室|楼|层|房))"
ADDRESS_ZH = (
    rf"(?:{HAN}{{1,12}}?)(?:路|大街|大道|街道?|巷|胡同|里弄|村|新村|小区|花园|公寓|家园|苑)(?:{HAN}{{0,6}}?)\s?"
    rf"(?:{NUMBER_ZH}(?:号楼|号院|号|弄)(?!电池|球|针|线|色|笔|码|字|钢|店|充)){INSIDE_ZH}{{0,4}}(?:\s?\d{{2,4}})?"
    rf"|(?:{HAN}{{1,12}})?{NUMBER_ZH}\s?(?:号楼|栋|幢|座)\s?(?:{NUMBER_ZH}\s?单元\s?)?(?:{NUMBER_ZH}\s?(?:楼|层)\s?)?\d{{2,4}}\s?(?:室|号|房)?"
    rf"|{HAN}{{2,7}}(?:省|自治区){HAN}{{1,8}}(?:市|州|盟){HAN}{{1,8}}(?:区|县|市|旗){HAN}{{1,10}}(?:街道|镇|乡|村|路|街|道|巷|里)(?:{HAN}{{0,8}}\d{{1,5}}号?)?"
    rf"|{HAN}{{1,6}}市{HAN}{{1,6}}(?:区|县){HAN}{{1,8}}(?:街道|镇|乡|村|路|街|巷)(?:{HAN}{{0,8}}\d{{1,5}}号?)?"
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How one kind is found."""

    kind: Kind
    pattern: re.Pattern[str]
    check: Callable[[re.Match[str]], bool] | None = None
    """Whether a place is really one; None: every place is."""
    group: int = 0
    """What of the match goes."""


def _digits(match: re.Match[str], group: int = 0) -> str:
    return "".join(sign for sign in match[group] if sign.isdigit())


def _no_version(match: re.Match[str]) -> bool:
    return not VERSION.search(match.string[: match.start()])


def _resident(match: re.Match[str]) -> bool:
    return is_resident_id("".join(sign for sign in match[0] if sign.isalnum()))


def _phone(match: re.Match[str]) -> bool:
    digits = _digits(match)
    plain = match[0].isdigit()
    return len(digits) >= FEWEST_PHONE_DIGITS and len(set(digits)) > 2 and not (plain and is_barcode(digits))


RULES: tuple[Rule, ...] = (
    Rule(kind="url", pattern=re.compile(URL), check=lambda match: bool(PERSONAL_URL.search(match[0]))),
    Rule(kind="email", pattern=re.compile(EMAIL, re.ASCII)),
    Rule(kind="ip", pattern=re.compile(IPV6, re.ASCII), check=lambda match: is_ipv6(match[0])),
    Rule(kind="ip", pattern=re.compile(IPV4, re.ASCII), check=_no_version),
    Rule(kind="id", pattern=re.compile(RESIDENT_ID, re.ASCII), check=_resident),
    Rule(kind="card", pattern=re.compile(CARD, re.ASCII), check=lambda match: is_card(_digits(match))),
    Rule(kind="phone", pattern=CALLED_PHONE, group=1),
    Rule(kind="phone", pattern=PHONE, check=_phone),
    Rule(kind="phone", pattern=AMERICAN, check=_phone),
    Rule(kind="address", pattern=re.compile(ADDRESS_EN, re.ASCII)),
    Rule(kind="address", pattern=re.compile(ADDRESS_ZH)),
)
"""In this order: what one rule has taken, no later one sees. Patterns are matched against lower-case text."""
LIKELY = (
    r"[@＠０-９]|\bat\b.*\bdot\b|[\[({]\s?at\s?[\])}]|https?://|www\.|(?:\d[^\d]{0,3}){6}\d|(?:\d{1,3}\.){3}\d"
    r"|[0-9a-f]:[0-9a-f]{0,4}:"
    rf"|\d.*\b(?:{STREETS}|{SHORT}|broadway)\b|\bbox\b|[a-z]{{1,2}}\d{{1,2}}[a-z]?\s\d[a-z]{{2}}"
    r"|[路街道巷弄村区苑园寓镇乡].*[\d一二三四五六七八九十号]|\d\s?[栋幢座楼]|省.*市|市.*[区县]"
)
"""What a value must hold to be looked at closely (RE2, on lower-case text): most values hold none of it."""
