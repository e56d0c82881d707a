"""The English of questions: what asks for what, and what no image tells."""

import re

from lib.vocabulary.question import Quantity, State
from lib.vocabulary.target import Relation


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


BEYOND = (
    (_words(r"age|how old|years? old|born|birth\w*"), "an image does not tell a patient's age"),
    (
        _words(
            r"patient(?:'s)? (?:name|id|identity)|name of (?:the|this) (?:patient|person)|"
            r"who (?:is|was)|"
               r"(?:his|her|their) name|what(?:'s| is) the name"),
        "an image does not tell who the patient is",
    ),
    (
        _words(r"sex|gender|males?|females?|(?:man|boy) or (?:a )?(?:woman|girl)|woman|pregnan\w+"),
        "these weights were not taught the organs that tell the sex",
    ),
    (
        _words(r"treat\w*|therap\w*|medicat\w*|drugs?|surger\w*|surgical\w*|operat\w*|chemo\w*|prescri\w*|"
               r"recommend\w*|biops\w*|advise|advice|follow[- ]up|what (?:should|to do)"),
        "what is to be done does not follow from an image",
    ),
    (
        _words(
            r"prognos\w*|surviv\w*|life expectancy|"
            r"how long (?:will|does|has) (?:the|this|he|she)\b.*(?:live|left)|"
               r"will (?:\w+ ){1,3}die|dies|dying|death|outcome|cured?|recover\w*|risk"),
        "an image does not tell what will become of a patient",
    ),
    (
        _words(r"hospital|scanner|manufacturer|vendor|date|when was|what year|kvp?|dose|country|city|"
               r"where was (?:this|the) (?:scan|image|picture|ct) (?:taken|made|acquired)|doctor|"
               r"physician"),
        "where, when and how the image was made is not in its voxels",
    ),
    (
        _words(
            r"symptom\w*|pain\w*|smok\w*|histor\w*|blood pressure|lab(?:oratory)? values?|"
            r"genetic\w*|bmi|"
               r"body mass|weigh\w*|ethnic\w*|occupation|allerg\w*"),
        "this is known from the patient, not from an image",
    ),
    (
        _words(
            r"diagnos\w*|what(?:'s| is) wrong|diseases?|malignan\w*|benign|histolog\w*|"
            r"stag(?:e|ing)|grade|"
               r"cause[ds]?|why|etiolog\w*|aetiolog\w*"),
        "a diagnosis does not follow from measurements; the model diagnosis considers one",
    ),
)  # fmt: skip
"""Pattern and reason, the first that fits."""

MODALITY = _words(
    r"modality|what (?:kind|type|sort) of (?:\w+ )?(?:image|scan|study|imaging|picture|exam\w*)|"
    r"(?:is|was) (?:this|it|that|the (?:image|scan|study)) an? "
    r"(?:ct|mri?|x-?ray|radiograph|ultrasound|photo\w*|pet|endoscop\w*)|which imaging"
)
PHASE = _words(r"contrast|enhanced|unenhanced|enhancement|native|phase")
PLANE = re.compile(
    r"\b(?:plane|orientation)\b|\b(?:axial|coronal|sagittal|transverse|transversal)\b(?! (?:colon|process|"
    r"diameter|slice number))",
    re.IGNORECASE,
)
STATES = {
    State.ENLARGED: _words(
        r"enlarged|enlargement|\w+megaly|(?:too|abnormally|unusually) (?:large|big)|swollen|oversized"
    ),
    State.SMALL: _words(r"atroph\w*|shrunken|shrunk|(?:too|abnormally|unusually) small"),
    State.NORMAL: _words(
        r"normal(?:ly)?[- ](?:in )?sized?|sized? (?:\w+ ){0,3}?normal|normal (?:\w+ )?(?:volume|length)"
    ),
    State.PARTIAL: _words(r"partly|partially|cut off|cropped|truncated|incomplete\w*"),
    State.WHOLE: _words(r"wholly|entirely|completely|fully|in full|entire|complete|in its entirety"),
}
MEGALY = {
    "hepatosplenomegaly": "liver and spleen enlarged",
    "hepatomegaly": "enlarged liver",
    "splenomegaly": "enlarged spleen",
    "nephromegaly": "enlarged kidneys",
}
COUNT = _words(r"how many|number of|count")
DENSITY = _words(
    r"densit\w+|dense|denser|densest|less dense|attenuat\w+|hounsfield(?: units?)?|hu|"
    r"brighter|brightest|darker|"
    r"darkest|hypodense|hyperdense|radiodens\w+"
)
SIZE = _words(
    r"volumes?|sizes?|how (?:large|big|long|wide|tall|high|deep|thick|much)|(?:axial )?diameters?|"
    r"lengths?|widths?|heights?|"
    r"depths?|measure\w*|larger|largest|bigger|biggest|smaller|smallest|longer|longest|"
    r"shorter|shortest|wider|taller|"
    r"exceed\w*|dimensions?|extents?|thick\w*|axis"
)
QUANTITIES = {
    Quantity.DENSITY: DENSITY,
    Quantity.VOLUME: _words(r"volumes?|voluminous|how much|ml|millilit\w+"),
    Quantity.DIAMETER: _words(r"diameters?|thick\w*"),
    Quantity.WIDTH: _words(r"widths?|wide|wider|transverse diameter"),
    Quantity.HEIGHT: _words(r"heights?|tall|taller|how high|craniocaudal\w*"),
    Quantity.DEPTH: _words(r"depths?|deep|deeper|anteroposterior"),
    Quantity.LENGTH: _words(r"(?:long|longest|major) axis|lengths?|long|longer|longest|shorter|shortest"),
}
"""Which quantity the words ask for; the first that fits."""
COMPARATIVE = _words(
    r"than|which|or|compare[ds]?|exceeds?|more|less|most|least|"
    r"(?:bigg|small|long|short|dens|bright|dark|wid|tall|high|low|great|heavi|thick|deep)(?:er|est)|"
    r"larger|largest"
)
"""Of several structures, one is asked for rather than all."""
BETWEEN = _words(r"between|from [\d.]+ \w* ?to")
OFFERS = re.compile(r"\bor\b", re.IGNORECASE)
YES_OR_NO = re.compile(r"\b(?:yes or no|true or false|whether or not)\b", re.IGNORECASE)
LESS = _words(
    r"smaller|smallest|less|shorter|shortest|lower|lowest|below|under|darker|darkest|"
    r"fewer|at most|hypodense|narrower"
)
SIDE = _words(
    r"(?:which|what) (?:\w+ )?sides?|left or (?:on )?(?:the )?right|"
    r"right or (?:on )?(?:the )?left|lateralit\w*|"
    r"(?:on|to|in|at) (?:the|his|her) (?:patient'?s |body'?s )?(?:left|right)(?: (?:hand )?side| half)?"
    r"(?=\s*(?:$|[?.,;]|or\b|of\b|in\b))|"
    r"(?:left|right)[- ]sided|"
    r"(?:the )?(?:patient'?s )?(?:left|right)(?: hand)? (?:side|half) of the (?:body|patient|"
    r"abdomen|trunk|chest|image|scan)"
)
SIDE_ONLY = re.compile(r"\b(left|right)\b", re.IGNORECASE)
RELATIONS = {
    Relation.LEFT_OF: _words(r"(?:to|on) the left of|left of|further (?:to the )?left(?: than)?"),
    Relation.RIGHT_OF: _words(r"(?:to|on) the right of|right of|further (?:to the )?right(?: than)?"),
    Relation.ABOVE: _words(
        r"above|higher(?: up)?(?: than)?|superior to|cranial to|"
        r"more (?:cranial|superior)(?: than)?|highest|over"),
    Relation.BELOW: _words(
        r"below|lower(?: down)?(?: than)?|inferior to|caudal to|"
        r"more (?:caudal|inferior)(?: than)?|lowest|under\w*"),
    Relation.FRONT: _words(
        r"in front of|anterior to|ventral to|more (?:anterior|ventral)(?: than)?|"
        r"further (?:to the )?front(?: than)?"),
    Relation.BEHIND: _words(
        r"behind|posterior to|dorsal to|more (?:posterior|dorsal)(?: than)?|"
        r"further (?:to the )?back(?: than)?"),
}  # fmt: skip
LOCATION = _words(r"where|locat\w+|positions?|positioned|coordinates?|lies|lie|situated")
ABNORMALITY = _words(
    r"abnormal\w*|patholog\w*|anything wrong|healthy|unremarkable|findings?|lesions?|"
    r"normal"
)
PRESENCE = _words(
    r"is there|are there|was there|visible|visuali[sz]ed|see|seen|present|presence|shows?|"
    r"shown|depict\w*|contains?|"
    r"contained|included?|includes|including|absent|missing|removed|has|have|had|appears? in|identif\w+|"
    r"detect\w*|find|found|exists?|"
    r"covered|captured|imaged|"
    r"in (?:the|this) (?:scan|image|ct|picture|volume|study|field of view)|lacks?|lacking|"
    r"any"
)
CONDITION = _words(r"abnormal|patholog\w*|anything wrong|healthy|unremarkable|normal")
NEGATION = _words(r"no|not|absent|missing|removed|lacks?|lacking|without|never")
PARTNER = _words(r"(?:the |its )?(?:other|contralateral|partner|counterpart)(?: (?:one|side|kidney|lung))?")
CLOSED = re.compile(
    r"(?:^|,)\W*(?:is|are|was|were|does|do|did|has|have|had|can|could|would|isn'?t|aren'?t)\b|"
    r"\byes\b.{0,5}\bno\b|\btrue or false\b",
    re.IGNORECASE,
)
TRUTH = re.compile(r"^\W*(?:yes|no|true|false)\b", re.IGNORECASE)
NUMBERS = {"one": 1, "a single": 1, "two": 2, "three": 3, "four": 4}
NUMBER_ASKED = _words(
    r"(?:is|are) there (?:only |exactly |just )?(one|a single|two|three|four|[1-4])|"
    r"(two|three|four|[2-4]) (?=kidneys|lungs|adrenals?)"
)

FILLING = _words(
    r"based on|according to|given|evident|evidence|apparent|look(?:s|ing)?|looking at|"
    r"think|opinion|appear(?:s|ing)?|"
    r"seem(?:s|ed)?|tell|know|answer|question|yes|no|true|false|following|these|those|"
    r"organs?|structures?|than|which|"
    r"what|where|how|mean|average|value|values|approximately|about|roughly|estimate\w*|"
    r"exact(?:ly)?|relative|compared|"
    r"comparison|between|side|body|patient'?s?|anyone|currently|actually|really|at all|"
    r"please|or|either|both|field|"
    r"view|identifiable|recogni[sz]able|able|possible|possibly|more|less|most|least|"
    r"units?|medium|agent|given|"
    r"administered|acquired|displayed|presented|case|study|anatom\w+|much|many|few|there|"
    r"not|sized|overall|adult\w*|"
    r"reference|range|typical\w*|usual\w*|did|had|be|been|its|it|current|provided|"
    r"attached|here|also|then|equal|same|"
    r"similar|wide|long|high|deep|tall|visible|centre|center|centroid|lies|lie|lying|"
    r"situated|upper|within|far|further|anything|axis|axes|extend|extends|reach\w*|"
    r"in (?:mm|cm|ml|l|hu|lit(?:re|er)s?|millimet\w+|centimet\w+|millilit\w+)|"
    r"mm|cm|ml|lit(?:re|er)s?|millimet\w+|centimet\w+|millilit\w+|maxim\w*|minim\w*|greater|greatest|"
    r"heavier|heaviest|total|together|combined|difference|compare[ds]?|anteroposterior"
)
"""Words of questions that name nothing; what else is not known is not understood."""
PLANES = {
    "axial": ("axial", "transverse", "transversal"),
    "coronal": ("coronal", "frontal"),
    "sagittal": ("sagittal",),
}
PHASES = {
    "portal venous": ("portal venous", "portal-venous", "portovenous", "venous", "portal"),
    "arterial": ("arterial",),
    "native": ("native", "non-contrast", "noncontrast", "non contrast", "unenhanced", "without contrast",
               "no contrast", "plain", "pre-contrast", "non-enhanced"),
}  # fmt: skip
MODALITIES = {
    "CT": ("ct", "computed tomography", "cat scan"),
    "MR": ("mr", "mri", "magnetic resonance"),
    "X-ray": ("x-ray", "xray", "radiograph"),
    "ultrasound": ("ultrasound", "sonograph", "sonogram"),
    "photograph": ("photo", "photograph", "endoscop", "dermoscop", "fundus"),
    "PET": ("pet", "positron"),
}


def said_word(text: str, words: dict[str, tuple[str, ...]]) -> str:
    """The first of the meanings that a text names, or ""."""
    plain = text.lower()
    return next(
        (
            meaning
            for meaning, forms in words.items()
            if any(re.search(rf"(?<!\w){re.escape(form)}", plain) for form in forms)
        ),
        "",
    )
