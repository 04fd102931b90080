"""Codes of languages, by which a task's name is known to be one of a language."""

_TWO_LETTERS = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es
et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj
kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv
ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw ta te tg th
ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
_THREE_LETTERS = """
ace als amh ang arb arc ary arz asm ast awa aym ayr azb azj bam bar bbj bcl bel bem ben bho bjn bod bos bpy bug bul bxr
cat cbk cdo ceb ces che ckb cmn cop crh csb cym dan deu diq div dsb dyu ell eml eng epo est eus ewe ext fao fas fij fin
fon fra fro frp frr fuc ful fur fuv gag gan gla gle glg gom got grc grn gsw guj gun hak hat hau haw hbo heb hif hin hne
hrv hsb hun hye ibo ilo ind isl ita jam jav jbo jpn kab kac kam kan kas kat kaz kbd kbp khk khm kik kin kir kmb kmr kon
kor koi kpv krc ksh lao lat lav lbe lez lfn lij lim lin lit lld lmo lrc ltg ltz lua lug luo lus lvs lzh mad mag mai mal
mar mdf mhr mkd mlg mlt mni mon mos mri mrj msa mwl mya myv mzn nan nap nde nds new nld nno nob npi nrm nso nus nya oci
olo ori orm ory oss pag pam pan pap pcd pcm pdc pes pfl pih plt pms pnb pnt pol por prs pus que quy quz rmy roh ron rue
run rup rus sag sah san sat scn sco shi shn sin slk slv sme smo sna snd som sot spa sqi srd srn srp ssw stq sun swa swe
swh szl tam taq tat tcy tel tet tgk tgl tha tir tpi tsn tso tuk tum tur twi tyv udm uig ukr umb urd uzb vec vep vie vls
vro war wln wol wuu xal xho xmf ydd yor yue zea zha zho zul zsm
"""
LANGUAGE_CODES = frozenset((_TWO_LETTERS + _THREE_LETTERS).split())
"""Of ISO 639-1, and of ISO 639-3 those of languages that there is data in; in lower case."""
