"""Names the languages that Whisper models know. Pure.

Codes and names are whisper.cpp's own (`g_lang` in src/whisper.cpp). Other names of them are those
of OpenAI's tokenizer (`TO_LANGUAGE_CODE` in whisper/tokenizer.py), which their programs have sent.
"""

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
_CODES = {name: code for code, name in NAMES.items()} | {
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
# What programs send for a language that is to be found out.
FOUND_OUT = "auto"


def code_of(language: str) -> str | None:
    """The code that a code or a name means, whatever its case, also with a region behind it
    (`pt-BR`); None where it is no language of Whisper's.
    """
    plain = " ".join(language.lower().replace("_", "-").split())
    for one in (plain, plain.partition("-")[0]):
        if one in NAMES:
            return one
        if one in _CODES:
            return _CODES[one]
    return None


def name_of(code: str) -> str:
    """The English name of a language, in lower case as OpenAI answers it; a code that is not known
    is its own name.
    """
    return NAMES.get(code, code)
