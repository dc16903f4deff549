"""Tokens that are known by how they begin: of clouds, models, stores, forges and our own.

Most begin with a short word and a separator (``ghp_``, ``sk-``, ``SG.``); such a word is looked up among the words of
a text, so that a text without one costs nothing more. The others (``AKIA…``, ``eyJ…``) are a part of one long run of
letters and digits, and are looked for only where there is such a run.

A form takes the whole run that follows, never a part of it: what is left of a token helps to guess it.

Source:
    The beginnings are facts; the patterns are our own, and take longer and shorter tokens too. Four in five beginnings are
    in at least one of these rule sets, as of 2026: gitleaks b58d3f1 (config/gitleaks.toml), TruffleHog 3ab759f
    (pkg/detectors), detect-secrets 5e14193 (plugins), secretlint 18346ba (rules). Those marked "service" are in none.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["FIRST_WORDS", "find_long_tokens", "find_tokens"]

_ALNUM = "[A-Za-z0-9]"
_WORDY = "[A-Za-z0-9_-]"

_FORMS: Final[tuple[tuple[str, str, str], ...]] = (
    # kind, first words, pattern from there on
    ("api_key", "sk pk rk", rf"(?:sk|pk|rk)[-_](?:proj|svcacct|admin|ant|or|lf|live|test|prod|helicone|v1)[-_]{_WORDY}{{10,512}}"),
    ("api_key", "sk pk rk", rf"(?:sk|pk|rk)[-_]{_ALNUM}{{20,512}}{_WORDY}{{0,256}}"),
    ("api_key", "sk pk rk", rf"(?:sk|pk|rk)[-_](?=[A-Za-z_-]{{0,40}}+[0-9])(?:[a-z]{{1,12}}[-_]){{0,3}}{_ALNUM}{{12,}}{_WORDY}{{0,256}}"),
    ("api_key", "sk pk rk", rf"(?:sk|pk|rk)[-_](?:[a-z0-9]{{1,12}}[-_]){{0,3}}(?=[a-zA-Z_-]{{0,100}}+[0-9])(?=[a-z0-9_-]{{0,100}}+[A-Z]){_WORDY}{{16,256}}"),
    ("github_token", "ghp gho ghu ghs ghr", rf"gh[pousr]_{_ALNUM}{{20,255}}"),
    ("github_token", "github", r"github_pat_[A-Za-z0-9_]{20,255}"),
    ("slack_token", "xoxa xoxb xoxc xoxd xoxe xoxo xoxp xoxr xoxs", r"xox[a-eoprs](?:\.xox[a-z])?-[A-Za-z0-9%-]{10,400}"),
    ("slack_token", "xapp", r"xapp-[0-9]-[A-Za-z0-9-]{16,250}"),
    ("access_token", "hf", rf"hf_{_ALNUM}{{20,100}}"),
    ("access_token", "api", rf"api_org_{_ALNUM}{{30,100}}"),
    ("access_token", "lsv2", r"lsv2_(?:pt|sk)_[A-Za-z0-9_]{16,200}"),
    ("access_token", "ls", rf"ls__{_ALNUM}{{30,64}}"),
    ("access_token", "glpat gldt glft glffct glsoat glrt glptt glcbt gloas glagent glimt",
     r"gl(?:pat|dt|ft|ffct|soat|rt|ptt|cbt|oas|agent|imt)-[A-Za-z0-9_.-]{16,320}"),
    ("api_key", "gsk", rf"gsk_{_ALNUM}{{20,200}}"),
    ("api_key", "csk", rf"csk-{_ALNUM}{{20,200}}"),
    ("api_key", "pcsk", r"pcsk_[A-Za-z0-9_]{20,200}"),
    # service: csk, tvly, jina, fw, tgp, llx, fc, e2b, m0, esecret, wandb, ls, sb, napi, rnd, GOCSPX, whsec, bt, tpuf, re, clew
    ("api_key", "tvly", rf"tvly-{_WORDY}{{16,100}}"),
    ("api_key", "xai", rf"xai-(?=[A-Za-z_-]{{0,100}}+[0-9]){_WORDY}{{20,200}}"),
    ("api_key", "pplx", rf"pplx-{_ALNUM}{{20,200}}"),
    ("api_key", "r8", rf"r8_{_ALNUM}{{20,100}}"),
    ("api_key", "sg", rf"SG\.{_WORDY}{{10,100}}\.{_WORDY}{{10,100}}"),
    ("api_key", "pa", rf"pa-(?=[A-Za-z_-]{{0,100}}+[0-9]){_WORDY}{{32,100}}"),
    ("api_key", "jina", rf"jina_(?=[A-Za-z_-]{{0,100}}+[0-9])(?=[a-z0-9_-]{{0,100}}+[A-Z]){_WORDY}{{20,200}}"),
    ("api_key", "bt", rf"bt-st-{_ALNUM}{{20,100}}"),
    ("api_key", "tpuf", rf"tpuf_{_ALNUM}{{20,100}}"),
    ("api_key", "re", rf"re_(?=[A-Za-z_]{{0,40}}+[0-9])(?=[a-z0-9_]{{0,40}}+[A-Z]){_ALNUM}{{8,12}}_{_ALNUM}{{20,32}}"),
    ("api_key", "pnu", rf"pnu_{_ALNUM}{{30,64}}"),
    ("api_key", "phx phc phs", rf"ph[xcs]_{_ALNUM}{{40,64}}"),
    ("api_key", "rzp", rf"rzp_(?:live|test)_{_ALNUM}{{14,32}}"),
    ("api_key", "duffel", rf"duffel_(?:live|test)_{_WORDY}{{40,64}}"),
    ("api_key", "flwseck", r"FLWSECK(?:_TEST)?-[0-9A-Za-z]{12,40}(?:-X)?"),
    ("api_key", "a3", r"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}"),
    ("api_key", "api", r"API-(?=[A-Z]{0,30}+[0-9])[A-Z0-9]{26}(?![A-Za-z0-9])"),
    ("api_key", "api sdk", r"(?:api|sdk)-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ("api_key", "aio", rf"aio_{_ALNUM}{{28}}(?![A-Za-z0-9])"),
    ("api_key", "ramp", rf"ramp_sec_{_ALNUM}{{40,64}}"),
    ("api_key", "pi", rf"pi_{_ALNUM}{{24}}_secret_{_ALNUM}{{20,32}}"),
    ("access_token", "slk sgp", r"(?:slk|sgp)_(?:(?:[0-9a-f]{16}|local)_)?[0-9a-f]{40,64}"),
    ("access_token", "sqp squ sqa", r"sq[pua]_[0-9a-f]{40}"),
    ("access_token", "tskey", rf"tskey-[a-z]{{2,12}}-{_WORDY}{{16,128}}"),
    ("access_token", "nfp nfc nfo nfb nfu", rf"nf[pcobu]_{_ALNUM}{{36,64}}"),
    ("access_token", "hrku", rf"HRKU-{_WORDY}{{36,80}}"),
    ("access_token", "ddp ddo ddw", rf"dd[pow]_{_ALNUM}{{30,64}}"),
    ("access_token", "cfpat", rf"CFPAT-{_WORDY}{{36,64}}"),
    ("access_token", "rdme", rf"rdme_{_ALNUM}{{60,80}}"),
    ("access_token", "tfp", r"tfp_[A-Za-z0-9_.=-]{40,80}"),
    ("access_token", "bkua", rf"bkua_{_ALNUM}{{36,64}}"),
    ("access_token", "ccipat", rf"CCIPAT_{_ALNUM}{{20,24}}_[0-9a-fA-F]{{36,64}}"),
    ("access_token", "clojars", rf"CLOJARS_{_ALNUM}{{50,70}}"),
    ("access_token", "dt0c01 dt0s01 dt0s16", r"dt0[cs][0-9]{2}\.[A-Z0-9]{8,24}(?:\.[A-Z0-9]{40,80})?"),
    ("access_token", "fio", rf"fio-u-{_WORDY}{{50,80}}"),
    ("access_token", "live test", r"(?:live|test)_[0-9a-f]{35}(?![0-9A-Za-z])"),
    ("access_token", "sha256", rf"sha256~{_WORDY}{{43}}"),
    ("access_token", "v1", r"v1\.0-[0-9A-Za-z-]{140,200}"),
    ("access_token", "signkey", r"signkey-[a-z]{2,12}-[0-9a-f]{32,128}"),
    ("access_token", "tr", rf"tr_(?:prod|dev|stg|preview|pat)_{_ALNUM}{{20,64}}"),
    ("access_token", "pat", rf"pat\.{_ALNUM}{{22}}\.{_ALNUM}{{24}}\.{_ALNUM}{{20}}"),
    ("access_token", "figp", r"figp_[A-Za-z0-9_=-]{36,64}"),
    ("access_token", "bbdc", r"BBDC-[A-Za-z0-9+/@_-]{40,50}"),
    ("access_token", "rootly", r"rootly_[0-9a-f]{64}"),
    ("access_token", "1", r"1//0[A-Za-z0-9_-]{60,200}"),
    ("api_key", "nvapi", rf"nvapi-{_WORDY}{{30,200}}"),
    ("api_key", "fw", rf"fw_(?=[A-Za-z]{{0,100}}+[0-9]){_ALNUM}{{20,100}}"),
    ("api_key", "tgp", rf"tgp_v[0-9]_{_WORDY}{{20,200}}"),
    ("api_key", "llx", rf"llx-{_ALNUM}{{20,200}}"),
    ("api_key", "fc", r"fc-[0-9a-f]{24,64}"),
    ("api_key", "e2b", r"e2b_[0-9a-f]{32,64}"),
    ("api_key", "m0", rf"m0-{_ALNUM}{{30,100}}"),
    ("api_key", "apify", rf"apify_api_{_ALNUM}{{20,100}}"),
    ("api_key", "esecret", rf"esecret_{_ALNUM}{{20,100}}"),
    ("api_key", "wandb", rf"wandb_v[0-9]_{_WORDY}{{20,200}}"),
    ("api_key", "key", r"key-[0-9a-f]{32}(?![0-9A-Za-z])"),
    ("access_token", "npm", rf"npm_{_ALNUM}{{30,100}}"),
    ("access_token", "pypi", rf"pypi-(?=[A-Za-z_-]{{0,100}}+[0-9]){_WORDY}{{32,1000}}"),
    ("access_token", "rubygems", r"rubygems_[0-9a-f]{32,64}"),
    ("access_token", "dckr", rf"dckr_(?:pat|oat)_{_WORDY}{{20,100}}"),
    ("access_token", "hvs hvb hvr", rf"hv[sbr]\.{_WORDY}{{20,300}}"),
    ("access_token", "atlasv1", rf"{_ALNUM}{{14}}\.atlasv1\.[A-Za-z0-9_=-]{{40,100}}"),
    ("access_token", "ya29", r"ya29\.[A-Za-z0-9_.-]{20,1500}"),
    ("access_token", "gocspx", rf"GOCSPX-{_WORDY}{{20,100}}"),
    ("access_token", "whsec", r"whsec_[A-Za-z0-9+/_-]{16,200}={0,2}"),
    ("access_token", "ntn", rf"ntn_{_ALNUM}{{30,100}}"),
    ("access_token", "secret", rf"secret_(?=[A-Za-z]{{0,100}}+[0-9]){_ALNUM}{{32,100}}"),
    ("access_token", "lin", rf"lin_(?:api|oauth)_{_ALNUM}{{20,100}}"),
    ("access_token", "nrak nrjs nrii nriq nrra nrsp", rf"NR(?:AK|JS|II|IQ|RA|SP)-{_WORDY}{{16,64}}"),
    ("access_token", "dop doo dor", r"do[por]_v1_[0-9a-f]{32,128}"),
    ("access_token", "shpat shpca shppa shpss", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{24,64}"),
    ("access_token", "sbp sbs", r"sb[ps]_(?:v[0-9]_)?[0-9a-f]{32,64}"),
    ("access_token", "sb", rf"sb_(?:secret|publishable)_{_WORDY}{{16,100}}"),
    ("access_token", "napi", rf"napi_{_ALNUM}{{30,100}}"),
    ("access_token", "vcp vck vcr vca vci", rf"vc[pkrai]_{_ALNUM}{{20,100}}"),
    ("access_token", "cfut cfat cfk", rf"cf(?:ut|at|k)_{_WORDY}{{24,100}}"),
    ("access_token", "rnd", rf"rnd_{_ALNUM}{{20,64}}"),
    ("access_token", "fo1", rf"fo1_{_WORDY}{{40,64}}"),
    ("access_token", "fm1a fm1r fm2", r"fm(?:1[ar]|2)_[A-Za-z0-9+/]{60,2000}={0,3}"),
    ("access_token", "figd", rf"figd_{_WORDY}{{20,100}}"),
    ("access_token", "glsa", r"glsa_[A-Za-z0-9]{20,64}_[0-9a-fA-F]{6,16}"),
    ("access_token", "glc", r"glc_[A-Za-z0-9+/]{32,500}={0,3}"),
    ("access_token", "sntrys sntryu", r"sntry[su]_[A-Za-z0-9+/=_-]{32,500}"),
    ("access_token", "pmak", r"PMAK-[0-9a-f]{20,32}-[0-9a-f]{20,40}"),
    ("access_token", "pul", r"pul-[0-9a-f]{40}"),
    ("access_token", "pat", r"pat-(?:na|eu|ap)[0-9]-[0-9a-f-]{32,40}"),
    ("access_token", "xkeysib xsmtpsib", r"x(?:key|smtp)sib-[0-9a-f]{32,80}-[A-Za-z0-9]{10,20}"),
    ("access_token", "dp", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.-]{32,100}"),
    ("access_token", "pscale", r"pscale_(?:tkn|pw|oauth|otkn)_[A-Za-z0-9_=.-]{20,80}"),
    ("access_token", "ops", r"ops_eyJ[A-Za-z0-9+/]{40,2000}={0,3}"),
    ("access_token", "sq0atp sq0csp", rf"sq0(?:atp|csp)-{_WORDY}{{20,64}}"),
    ("access_token", "bedrock", r"bedrock-api-key-[A-Za-z0-9+/=_-]{20,500}"),
    ("access_token", "age", r"AGE-SECRET-KEY-1[A-Z0-9]{40,64}"),
    ("clew_token", "clew", rf"clew_(?=[a-zA-Z_-]{{0,100}}+[0-9])(?=[a-z0-9_-]{{0,100}}+[A-Z]){_WORDY}{{32,64}}"),
    ("webhook", "hooks", r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{10,200}"),
    ("webhook", "hooks", r"hooks\.zapier\.com/hooks/catch/[A-Za-z0-9/_-]{8,100}"),
    ("webhook", "webhooks", r"discord(?:app)?\.com/api/(?:v[0-9]{1,2}/)?webhooks/[0-9]{10,24}/[A-Za-z0-9_-]{20,100}"),
    ("webhook", "webhookb2", r"webhook\.office\.com/webhookb2/[A-Za-z0-9@/_-]{20,250}"),
)  # fmt: skip

_LONG_FORMS: Final[tuple[tuple[str, str, str], ...]] = (
    # kind, beginning, pattern
    ("aws_key", "AKIA", r"AKIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("aws_key", "ASIA", r"ASIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("aws_key", "ABIA", r"ABIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("aws_key", "ACCA", r"ACCA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("aws_key", "A3T", r"A3T[A-Z0-9]{17}(?![A-Za-z0-9])"),
    ("access_token", "ATBB", r"ATBB[A-Za-z0-9_=.-]{24,64}"),
    ("access_token", "AKC", r"AKC[A-Za-z0-9]{60,80}(?![A-Za-z0-9])"),
    ("access_token", "cmVmdGtu", r"cmVmdGtu[A-Za-z0-9]{50,64}"),
    ("access_token", "EAAA", r"EAAA[A-Za-z0-9_-]{60}(?![A-Za-z0-9])"),
    ("access_token", "AQVN", r"AQVN[A-Za-z0-9_-]{35,38}(?![A-Za-z0-9])"),
    ("access_token", "EZ", r"EZ[AT]K[A-Za-z0-9]{54}"),
    ("access_token", "cio", r"cio(?=[a-zA-Z]{0,32}+[0-9])(?=[a-z0-9]{0,32}+[A-Z])[A-Za-z0-9]{32}(?![A-Za-z0-9])"),
    ("access_token", "FFFFNRAL", r"[0-9a-z]{32}FFFFNRAL"),
    ("access_token", "pat", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    ("api_key", "-us", r"[0-9a-f]{32}-us[0-9]{1,2}(?![0-9A-Za-z])"),
    ("aws_key", "ABSK", r"ABSK[A-Za-z0-9+/]{60,300}={0,2}"),
    ("aws_key", "IQoJb3JpZ2lu", r"IQoJb3JpZ2lu[A-Za-z0-9+/]{32,3000}={0,2}"),
    ("aws_key", "FwoGZXIvYXdz", r"FwoGZXIvYXdz[A-Za-z0-9+/]{32,3000}={0,2}"),
    ("google_key", "AIza", r"AIza[A-Za-z0-9_-]{30,64}"),
    ("jwt", "eyJ", r"eyJ[A-Za-z0-9_-]{8,2048}\.[A-Za-z0-9_-]{8,4096}(?:\.[A-Za-z0-9_-]{0,4096}){0,3}"),
    ("jwt", "ZXlK", r"ZXlK[A-Za-z0-9+/]{60,4096}={0,2}"),
    ("access_token", "dapi", r"dapi[0-9a-f]{32}(?:-[0-9])?(?![A-Za-z0-9])"),
    ("api_key", "SK", r"SK[0-9a-f]{32}(?![A-Za-z0-9])"),
    ("access_token", "ATATT3", r"ATATT3[A-Za-z0-9_=-]{40,300}"),
    ("access_token", "ATCTT3", r"ATCTT3[A-Za-z0-9_=-]{40,300}"),
    ("access_token", "EAA", r"EAA(?:CEdEose0cBA[A-Za-z0-9]{20,400}|[A-Za-z0-9]{80,400})"),
    ("aws_key", "LTAI", r"LTAI[A-Za-z0-9]{16,28}(?![A-Za-z0-9])"),
    ("api_key", "AKID", r"AKID[A-Za-z0-9]{32}(?![A-Za-z0-9])"),
    ("access_token", ":AA", r"(?:bot)?[0-9]{8,12}:AA[A-Za-z0-9_-]{30,40}"),
    ("access_token", "M", r"M[A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}"),
    ("access_token", "Q~", r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{30,36}"),
)

_BY_FIRST_WORD: Final[dict[str, list[int]]] = {}
for _number, (_kind, _words, _pattern) in enumerate(_FORMS):
    for _word in _words.split():
        _BY_FIRST_WORD.setdefault(_word, []).append(_number)

FIRST_WORDS: Final = frozenset(_BY_FIRST_WORD)
"""Lower case: the first words of tokens that have a separator behind theirs."""


def find_tokens(text: str, first_words: Iterable[str]) -> Iterator[tuple[int, int, str]]:
    """Find the tokens of *text* that begin with one of *first_words*."""
    for number in sorted({number for word in first_words for number in _BY_FIRST_WORD.get(word, ())}):
        kind, _, pattern = _FORMS[number]
        for match in _compiled(pattern).finditer(text):
            if _begins_a_word(text, match.start()):
                yield *match.span(), kind


def find_long_tokens(text: str) -> Iterator[tuple[int, int, str]]:
    """Find the tokens of *text* that are long runs."""
    for kind, beginning, pattern in _LONG_FORMS:
        if beginning in text:
            for match in _compiled(pattern).finditer(text):
                if _begins_a_word(text, match.start()):
                    yield *match.span(), kind


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile a form when it is needed first: all of them would take longer than the rest of ``import clew``."""
    return re.compile(pattern)


def _begins_a_word(text: str, start: int) -> bool:
    r"""Whether no letter or digit is before *start*, but for those of an escape (``\n``, ``%3D``)."""
    if start == 0 or not text[start - 1].isalnum():
        return True
    return text[start - 2 : start] in ("\\n", "\\r", "\\t") or (start > 2 and text[start - 3] == "%")
