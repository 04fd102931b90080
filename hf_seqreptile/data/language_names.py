"""English names of languages, by which a word is known to be one."""

_NAMES = """
abkhazian afar afrikaans akan albanian amharic arabic aragonese armenian assamese avaric aymara azerbaijani bambara
bashkir basque belarusian bemba bengali bislama bosnian breton bulgarian burmese catalan cebuano chamorro chechen
chichewa chinese chuvash cornish corsican cree croatian czech danish dari divehi dutch dzongkha english esperanto
estonian ewe faroese farsi fijian filipino finnish fon french frisian fulah gaelic galician ganda georgian german
greek guarani gujarati haitian hausa hebrew herero hindi hmong hungarian icelandic ido igbo ilocano indonesian
interlingua inuktitut irish italian japanese javanese kalaallisut kannada kanuri kashmiri kazakh khmer kikuyu
kinyarwanda komi kongo korean kurdish kyrgyz lao latin latvian limburgish lingala lithuanian luganda luo
luxembourgish macedonian malagasy malay malayalam maltese mandarin manx maori marathi marshallese mongolian nauru
navajo ndebele ndonga nepali norwegian nyanja occitan odia ojibwa oriya oromo ossetian pali pashto persian polish
portuguese punjabi quechua romanian romansh rundi russian samoan sango sanskrit sardinian serbian shona sindhi
sinhala slovak slovene slovenian somali sotho spanish sundanese swahili swati swedish tagalog tahitian tajik tamil
tatar telugu thai tibetan tigrinya tongan tsonga tswana turkish turkmen twi ukrainian urdu uyghur uzbek venda
vietnamese walloon welsh wolof xhosa yiddish yoruba zhuang zulu
"""
LANGUAGE_NAMES = frozenset(_NAMES.split())
"""Of ISO 639-1, and more with many speakers; in lower case, one word each."""
