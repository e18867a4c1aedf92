"""Names the languages that Whisper models know. Pure.

Codes and names are whisper.cpp's own (`g_lang` in src/whisper.cpp). Other names of them are those
of OpenAI's tokenizer (`TO_LANGUAGE_CODE` in whisper/tokenizer.py), which their programs have sent.
Codes of three letters are those of ISO 639, in both of its spellings.
"""

import difflib

# By code: the whole table in the order of the models' tokens.
_TABLE = """
en english, zh chinese, de german, es spanish, ru russian, ko korean, fr french, ja japanese,
pt portuguese, tr turkish, pl polish, ca catalan, nl dutch, ar arabic, sv swedish, it italian,
id indonesian, hi hindi, fi finnish, vi vietnamese, he hebrew, uk ukrainian, el greek, ms malay,
cs czech, ro romanian, da danish, hu hungarian, ta tamil, no norwegian, th thai, ur urdu,
hr croatian, bg bulgarian, lt lithuanian, la latin, mi maori, ml malayalam, cy welsh, sk slovak,
te telugu, fa persian, lv latvian, bn bengali, sr serbian, az azerbaijani, sl slovenian,
kn kannada, et estonian, mk macedonian, br breton, eu basque, is icelandic, hy armenian,
ne nepali, mn mongolian, bs bosnian, kk kazakh, sq albanian, sw swahili, gl galician, mr marathi,
pa punjabi, si sinhala, km khmer, sn shona, yo yoruba, so somali, af afrikaans, oc occitan,
ka georgian, be belarusian, tg tajik, sd sindhi, gu gujarati, am amharic, yi yiddish, lo lao,
uz uzbek, fo faroese, ht haitian creole, ps pashto, tk turkmen, nn nynorsk, mt maltese,
sa sanskrit, lb luxembourgish, my myanmar, bo tibetan, tl tagalog, mg malagasy, as assamese,
tt tatar, haw hawaiian, ln lingala, ha hausa, ba bashkir, jw javanese, su sundanese, yue cantonese
"""
NAMES = dict(one.strip().split(maxsplit=1) for one in _TABLE.split(","))
# haw and yue are Whisper's own.
_THREE_LETTERS = """
en eng, zh zho chi cmn, de deu ger, es spa, ru rus, ko kor, fr fra fre, ja jpn, pt por, tr tur,
pl pol, ca cat, nl nld dut, ar ara, sv swe, it ita, id ind, hi hin, fi fin, vi vie, he heb, uk ukr,
el ell gre, ms msa may, cs ces cze, ro ron rum, da dan, hu hun, ta tam, no nor nob, th tha, ur urd,
hr hrv, bg bul, lt lit, la lat, mi mri mao, ml mal, cy cym wel, sk slk slo, te tel, fa fas per,
lv lav, bn ben, sr srp, az aze, sl slv, kn kan, et est, mk mkd mac, br bre, eu eus baq, is isl ice,
hy hye arm, ne nep, mn mon, bs bos, kk kaz, sq sqi alb, sw swa, gl glg, mr mar, pa pan, si sin,
km khm, sn sna, yo yor, so som, af afr, oc oci, ka kat geo, be bel, tg tgk, sd snd, gu guj, am amh,
yi yid, lo lao, uz uzb, fo fao, ht hat, ps pus, tk tuk, nn nno, mt mlt, sa san, lb ltz, my mya bur,
bo bod tib, tl tgl fil, mg mlg, as asm, tt tat, ln lin, ha hau, ba bak, jw jav, su sun
"""
_CODES = (
    {name: code for code, name in NAMES.items()}
    | {
        longer: code
        for code, *others in (one.split() for one in _THREE_LETTERS.split(","))
        for longer in others
    }
    | {
        "burmese": "my",
        "valencian": "ca",
        "flemish": "nl",
        "haitian": "ht",
        "letzeburgesch": "lb",
        "pushto": "ps",
        "panjabi": "pa",
        "moldavian": "ro",
        "moldovan": "ro",
        "sinhalese": "si",
        "castilian": "es",
        "mandarin": "zh",
        # ISO 639-1 has other codes for these than Whisper.
        "jv": "jw",
        "nb": "no",
    }
)
# What programs send for a language that is to be found out.
FOUND_OUT = "auto"
# How alike a name and what was written have to be, and how many such names are told.
_ALIKE, _MOST_NEAR = 0.75, 3


def code_of(language: str) -> str | None:
    """The code that a code or a name means, whatever its case, also with a region behind it
    (`pt-BR`), or of three letters (`eng`); None where it is no language of Whisper's.
    """
    plain = " ".join(language.lower().replace("_", "-").split())
    for one in (plain, plain.partition("-")[0]):
        if one in NAMES:
            return one
        if one in _CODES:
            return _CODES[one]
    return None


def near_names(language: str) -> list[str]:
    """The names that are most like one that is no language, the most alike first; often none."""
    written = language.lower().strip()
    names = {**{name: name for name in NAMES.values()}, **_named_otherwise()}
    alike = difflib.get_close_matches(written, names, 2 * _MOST_NEAR, _ALIKE)
    return list(dict.fromkeys(names[one] for one in alike))[:_MOST_NEAR]


def _named_otherwise() -> dict[str, str]:
    return {other: NAMES[code] for other, code in _CODES.items() if len(other) > 3}


def name_of(code: str) -> str:
    """The English name of a language, in lower case as OpenAI answers it; a code that is not known
    is its own name.
    """
    return NAMES.get(code, code)
