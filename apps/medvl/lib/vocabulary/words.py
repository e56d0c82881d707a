"""The English words of requests that name no structure: sides, sizes, places, links, and mere filling."""

from lib.vocabulary.structures import Side
from lib.vocabulary.target import Pick, Relation

SIDES = {
    Side.LEFT: (
        "left|left side|left sided|left hand|left hand side|on the left|on the left side|on left|"
        "on the left hand side|patient left|lt|sinistra|sinister"
    ),
    Side.RIGHT: (
        "right|right side|right sided|right hand|right hand side|on the right|on the right side|"
        "on right|on the right hand side|patient right|rt|dextra|dexter"
    ),
}
BOTH = (
    "both|bilateral|bilaterally|left and right|right and left|left or right|right or left|paired|"
    "on both sides"
)

PICKS = {
    Pick.LARGEST: "largest|biggest|greatest|larger|bigger|most voluminous|longest|dominant",
    Pick.SMALLEST: "smallest|smaller|tiniest|shortest",
    Pick.UPPERMOST: "uppermost|highest|topmost|most superior|most cranial",
    Pick.LOWERMOST: "lowermost|lowest|bottommost|most inferior|most caudal",
    Pick.LEFTMOST: "leftmost|most left",
    Pick.RIGHTMOST: "rightmost|most right",
    Pick.FRONTMOST: "frontmost|most anterior|most ventral",
    Pick.REARMOST: "rearmost|hindmost|most posterior|most dorsal",
}
RANKS = {2: "second|2nd|next", 3: "third|3rd", 4: "fourth|4th", 5: "fifth|5th"}

RELATIONS = {
    Relation.IN: "in|inside|within|inside of|located in|lying in|situated in|on|at|from|throughout|into",
    Relation.OUTSIDE: "outside|outside of|not in|not inside|not within",
    Relation.NEAR: (
        "near|next to|beside|close to|adjacent to|around|by|along|alongside|touching|neighbouring|"
        "at the level of|abutting|surrounding"
    ),
    Relation.ABOVE: "above|superior to|cranial to|over|on top of|cephalad to",
    Relation.BELOW: "below|inferior to|caudal to|under|underneath|beneath",
    Relation.FRONT: "in front of|anterior to|ventral to",
    Relation.BEHIND: "behind|posterior to|dorsal to|in back of",
    Relation.LEFT_OF: "left of|to the left of|on the left of",
    Relation.RIGHT_OF: "right of|to the right of|on the right of",
}
OF = "of"
AND = "and|or|as well as|plus|also|together with|with|nor|including|and also|along with|und"
COMMA = ",|/|&|+"
NOT = "not|no|but not|do not|don t|never|and not|neither|is not|are not|not the"
EXCEPT = (
    "except|except for|excepting|but for|without|excluding|apart from|other than|minus|save for|"
    "leave out|leaving out|leave|omit|skip|exclude|ignore|ignoring|remove|besides|aside from|all but"
)
BUT = "but|only|just|instead|however|rather"
ARTICLES = "the|a|an|his|her|its|their|my|your|our|this|that|these|those"
STOPS = (
    ".|;|:|!|?|(|)|[|]|segment|show|mark|outline|find|draw|delineate|contour|label|locate|identify|"
    "highlight|detect|extract|annotate|give|get|display|want|need|see|indicate|point|point out|look|"
    "look for|looking for|measure|colour|color|paint|trace|select|include|return|is|are|was|were|"
    "has|have|does|do|then|segmentation of|which|where|what|who|because|if"
)
FILLERS = (
    "please|kindly|me|i|we|you|can|could|would|will|should|shall|must|like|to|us|patient|subject|"
    "person|man|woman|child|case|ct|cts|mr|mri|pet|scan|scans|image|images|picture|volume|volumes|"
    "study|series|slice|slices|dataset|exam|examination|mask|masks|segmentation|segmentations|"
    "annotation|outlines|contours|boundary|boundaries|region|regions|area|areas|voxel|voxels|pixel|"
    "pixels|whole|entire|complete|full|total|visible|present|there|here|it|they|them|all|every|each|"
    "any|some|one|ones|as|now|again|well|parenchyma|tissue|tissues|shown|seen|for|human|anatomical|"
    "side|sides|located|position|location|available|possible|existing|thanks|thank|hello|hi|hey|ok|"
    "okay|so|very|big|large|small|huge|tiny|little|normal|healthy|abnormal|suspicious|malignant|"
    "benign|primary|known|hypodense|hyperdense|hypoattenuating|enhancing|focal|round|solid|lying|"
    "appearing|s|up|out|number|being|been|be|try|start|begin|let|make|create|produce|generate|"
    "compute|perform|help|carefully|quickly|exactly|precisely|properly|accurately|fully|completely|"
    "annotated|segmented|outlined|marked|labelled|labeled|traced|drawn|highlighted|delineated|contoured|"
    "belong|belongs|belonging|separately|individually|clearly|simply|thoroughly|finally|entirely|task|using|use|data|when|"
    "while|both of"
)
PARTS = (
    "upper pole|lower pole|superior pole|inferior pole|middle pole|interpolar region|pole|poles|"
    "upper third|middle third|lower third|upper half|lower half|left half|right half|upper part|"
    "lower part|middle part|anterior part|posterior part|left part|right part|top|bottom|dome|apex|"
    "base|hilum|hilus|head|neck|tail|uncinate process|fundus|antrum|pylorus|cardia|corpus|cortex|"
    "medulla|left lobe|right lobe|left liver lobe|right liver lobe|left hepatic lobe|"
    "right hepatic lobe|caudate lobe|quadrate lobe|isthmus|ascending|descending|transverse|sigmoid|"
    "arch|abdominal|thoracic|infrarenal|suprarenal part|periphery|peripheral|central|centre|center|"
    "edge|wall|lumen|chest|thorax|thoracic cavity|abdomen|upper abdomen|lower abdomen|belly|pelvis|"
    "mediastinum|retroperitoneum|shaft|spinous process|transverse process|vertebral arch|valve|"
    "septum|left ventricle|right ventricle|left atrium|right atrium|ventricle|atrium|upper|lower|"
    "middle|anterior|posterior|medial|lateral|superior|inferior|subpleural|subcapsular|"
    "right upper quadrant|left upper quadrant|right lower quadrant|left lower quadrant"
)
SEGMENT_NUMBERS = "1|2|3|4|4a|4b|5|6|7|8|9|10|i|ii|iii|iv|iva|ivb|v|vi|vii|viii|ix|x"
