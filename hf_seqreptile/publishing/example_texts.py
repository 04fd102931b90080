"""What the lines of a model card try a model on, in the languages of the bundled samples."""

from collections.abc import Mapping, Sequence

ENGLISH = "en"
Texts = Mapping[str, tuple[str, ...]]
"""By language."""

WORDS_APART: Texts = {
    "en": ("Angela Merkel was born in Hamburg .",),
    "ar": ("ولدت أنجيلا ميركل في هامبورغ .",),
    "de": ("Angela Merkel wurde in Hamburg geboren .",),
    "es": ("Angela Merkel nació en Hamburgo .",),
    "fr": ("Angela Merkel est née à Hambourg .",),
    "hi": ("एंजेला मर्केल का जन्म हैम्बर्ग में हुआ था ।",),
    "ru": ("Ангела Меркель родилась в Гамбурге .",),
    "sw": ("Angela Merkel alizaliwa Hamburg .",),
    "tr": ("Angela Merkel Hamburg'da doğdu .",),
    "zh": ("安 格 拉 · 默 克 尔 出 生 于 汉 堡 。",),
}
PAIRS: Texts = {
    "en": ("The bakery opens at six.", "Nobody sells bread before noon."),
    "ar": ("يفتح المخبز في السادسة.", "لا أحد يبيع الخبز قبل الظهر."),
    "de": ("Die Bäckerei öffnet um sechs.", "Vor Mittag verkauft niemand Brot."),
    "es": ("La panadería abre a las seis.", "Nadie vende pan antes del mediodía."),
    "fr": ("La boulangerie ouvre à six heures.", "Personne ne vend de pain avant midi."),
    "hi": ("बेकरी छह बजे खुलती है।", "दोपहर से पहले कोई रोटी नहीं बेचता।"),
    "ru": ("Пекарня открывается в шесть.", "Никто не продаёт хлеб до полудня."),
    "sw": ("Duka la mikate hufunguliwa saa kumi na mbili.", "Hakuna anayeuza mkate kabla ya adhuhuri."),
    "tr": ("Fırın saat altıda açılıyor.", "Öğleden önce kimse ekmek satmıyor."),
    "zh": ("面包店六点开门。", "中午之前没有人卖面包。"),
}
ONE_TEXT: Texts = {
    "en": ("A wonderful book.",),
    "ar": ("كتاب رائع.",),
    "de": ("Ein wunderbares Buch.",),
    "es": ("Un libro maravilloso.",),
    "fr": ("Un livre merveilleux.",),
    "hi": ("एक अद्भुत किताब।",),
    "ru": ("Замечательная книга.",),
    "sw": ("Kitabu kizuri sana.",),
    "tr": ("Harika bir kitap.",),
    "zh": ("一本很棒的书。",),
}
QUESTIONS: Texts = {
    "en": ("Where was Angela Merkel born?", "Angela Merkel was born in Hamburg."),
    "ar": ("أين ولدت أنجيلا ميركل؟", "ولدت أنجيلا ميركل في هامبورغ."),
    "de": ("Wo wurde Angela Merkel geboren?", "Angela Merkel wurde in Hamburg geboren."),
    "es": ("¿Dónde nació Angela Merkel?", "Angela Merkel nació en Hamburgo."),
    "fr": ("Où est née Angela Merkel ?", "Angela Merkel est née à Hambourg."),
    "hi": ("एंजेला मर्केल का जन्म कहाँ हुआ था?", "एंजेला मर्केल का जन्म हैम्बर्ग में हुआ था।"),
    "ru": ("Где родилась Ангела Меркель?", "Ангела Меркель родилась в Гамбурге."),
    "sw": ("Angela Merkel alizaliwa wapi?", "Angela Merkel alizaliwa Hamburg."),
    "tr": ("Angela Merkel nerede doğdu?", "Angela Merkel Hamburg'da doğdu."),
    "zh": ("安格拉·默克尔出生在哪里？", "安格拉·默克尔出生于汉堡。"),
}
CHOICES: Texts = {
    "en": ("Anna slept late.", "What was the effect?", "She was early.", "She missed the bus."),
    "ar": ("نامت آنا متأخرة.", "ماذا كانت النتيجة؟", "وصلت مبكرة.", "فاتتها الحافلة."),
    "de": ("Anna schlief lange.", "Was war die Folge?", "Sie war früh dran.", "Sie verpasste den Bus."),
    "es": ("Anna durmió hasta tarde.", "¿Cuál fue el efecto?", "Llegó temprano.", "Perdió el autobús."),
    "fr": ("Anna a dormi tard.", "Quel a été l'effet ?", "Elle était en avance.", "Elle a raté le bus."),
    "hi": ("अन्ना देर तक सोई।", "परिणाम क्या हुआ?", "वह जल्दी पहुँची।", "उसकी बस छूट गई।"),
    "ru": ("Анна проспала.", "К чему это привело?", "Она пришла рано.", "Она опоздала на автобус."),
    "sw": ("Anna alilala hadi kuchelewa.", "Matokeo yalikuwa nini?", "Aliwahi.", "Alikosa basi."),
    "tr": ("Anna geç uyandı.", "Sonuç ne oldu?", "Erken geldi.", "Otobüsü kaçırdı."),
    "zh": ("安娜睡过头了。", "结果是什么？", "她来得很早。", "她错过了公共汽车。"),
}


def example_in(texts: Texts, languages: Sequence[str]) -> tuple[str, ...]:
    """The texts in English where that is one of the languages or none of them is known, else in the first known."""
    known = [language for language in languages if language in texts]
    return texts[ENGLISH if ENGLISH in known or not known else known[0]]
