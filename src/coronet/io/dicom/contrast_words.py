"""Words of contrast tags in the languages of Europe and East Asia: routes, agents and negations."""

from __future__ import annotations

BLOOD, LOCAL = "blood", "local"
"""Kinds of routes: into the blood, and elsewhere."""

AGENT, LOCAL_AGENT, GENERIC = "agent", "local agent", "generic"
"""Kinds of agents: for the blood, for the bowel, and contrast in general."""

GIVEN, OTHER = "given", "other"
"""That something was given, and all remaining words."""


def _terms(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


NEGATIONS = _terms(
    """
    AUCUN AUCUNE BEZ BRAK EI EJ FALSE GEEN IKKE ILMAN INGEN INGET KEIN KEINE KEINEN KEINES NAO NE
    NEE NEG NEGATIVE NEIN NICHT NIE NIET NO NON NOT OHNE PAS SANS SEM SENZA SIN SINE UDEN UTAN UTEN
    WITHOUT WO WOUT ZONDER БЕЗ НЕ НЕТ
    """
)

NONE_AT_ALL = _terms(
    """
    KEINS NADA NATIV NATIVA NATIVE NATIVO NCCT NECT NENHUM NENHUMA NESSUNA NESSUNO NICHTS NIENTE NIL
    NINGUNA NINGUNO NONCON NONCONTRAST NONE NONENHANCED NOTHING PLAIN RIEN UNENHANCED НАТИВ НАТИВНОЕ
    """
)
"""Negations that need no word beside them."""

AFFIRMATIONS = _terms("AVEC COM CON DA JA MED MET MIT OUI SI SIM TAK TRUE W WITH YES ДА")

JOINING = _terms("AND E EN ET I OCH OG PLUS UND Y")

UNDECIDED = _terms(
    """
    APPLICABLE AVAILABLE DESCONHECIDO DESCONOCIDO DOCUMENTED INCONNU KNOWN NA RECORDED SCONOSCIUTO
    SPECIFIED STATED UNBEKANNT UNK UNKNOWN UNSPECIFIED
    """
)

WORDS = {
    BLOOD: _terms("IV EV IA PICC CVC PORT PORTACATH MEDIPORT PARENTERAL ARM HAND WRIST AC RAC LAC ВВ"),
    LOCAL: _terms("PO OS NG NGT PR ENTERAL"),
    GENERIC: _terms(
        """
        C KM CM MDC PDC DYE IONIC IONISCH BOLUS CECT ML CC 240 250 270 280 300 320 350 355 370 400
        """
    ),
    GIVEN: _terms("GIVEN APPLIED USED RECEIVED GEGEBEN VERABREICHT PODANO"),
}
"""Whole words of each kind."""

BEGINNINGS = {
    # INTRAARTER and not INTRAART, which begins INTRAARTICULAR as well
    BLOOD: _terms(
        """
        INTRAVEN ENDOVEN VENO VENA VENE VEIN INTRAARTER ARTER INTRAVAS VASCUL JUGUL FEMOR CUBIT
        ANTECUB BRACH SUBCLAV CEPHALIC BASILIC ВНУТРИВЕН
        """
    ),
    LOCAL: _terms(
        """
        ORAL PERORAL RECTAL REKTAL TRANSRECT ENEMA KLYSMA CLYSMA INTRATHEC THECAL INTRAARTIC ARTICUL
        INTRAVESIC VESICAL BLADDER NASOGAST GASTRIC BOWEL MOUTH DRINK COLON BUCCAL INHAL ПЕРОРАЛ
        ОРАЛ РЕКТАЛ
        """
    ),
    AGENT: _terms(
        """
        OMNIPA ULTRAVIST ISOVUE VISIPA OPTIRAY OXILAN IOMERON IMERON XENETIX HEXABRIX IOPAM NIOPAM
        SOLUTRAST ACCUPA SCANLUX TELEBRIX CONRAY HYPAQUE RENOGRAF UROGRAF UROMIRO PEYTEL ANGIOGRAF
        IOHEX IOPROM IOVERS IOMEP IODIX IOXAG IOXIL IOBIT IOPENT IOTHAL IOXITAL IOTROL IOSIM IOPIP
        CLARISCAN MAGNEVIST GADO DOTAREM OMNISCAN PROHANCE MULTIHANCE OPTIMARK VUEWAY ELUCIREM
        DIATRIZ AMIDOTRI
        """
    ),
    LOCAL_AGENT: _terms(
        """
        GASTROG GASTROV GASTROM GASTROL BARI BARYT READI REDICAT EZCAT MICROPA MICROBAR VOLUMEN
        BREEZA MANNIT LUMIRIX PERITRAST WATER WASSER
        """
    ),
    GIVEN: _terms("ADMINIST INJEC INJEK INJIZ INYEC SOMMINIST"),
    GENERIC: _terms("CONTRAST KONTRAST КОНТРАСТ IODIN IODAT JOD IODE YOD ENHANC GADOLIN MEDIUM MEDIA"),
}
"""How words of each kind begin; names of agents are written in many ways."""

PHRASES = [
    # an agent that is no salt, in several languages, is an agent
    (r"\b(?:NON|NO|NICHT|NAO|NIET|NIE|EJ|IKKE|NE)[\s-]*IONI\w*", " IONIC "),
    (r"\bN\s*/\s*A\b", " NA "),
    (r"\bW\s*/\s*O(?:UT)?\b", " WITHOUT "),
    (r"\bW\s*/", " WITH "),
    (r"\bS\s*/\s*(?=[CK])", " WITHOUT "),
    (r"\bC\s*/\s*(?=[CK])", " WITH "),
    (r"\b(?:CONTRAST|CE|CM|KM|C)\s*\+", " WITH CONTRAST "),
    (r"^\s*(?:CONTRAST|CE|CM|KM|C)\s*-\s*$", " WITHOUT CONTRAST "),
    (r"\bPRE[\s-]*(?=CONTRAST|KONTRAST|KM\b|CM\b|IV\b|INJECTION)", " WITHOUT "),
    (r"\b0+(?:[.,]0+)?\s*(?:ML|CC|MG|G|L)\b", " "),
    ("非|未", " NON "),
    ("なし|無し|无|無|平扫|平掃|単純|없음", " NONE "),
    ("造影|增强|增強|조영", " CONTRAST "),
    ("静脈|静脉|정맥", " IV "),
    ("経口|口服|경구", " ORAL "),
    (r"[&+]", " AND "),
]
"""What is spelt with signs, or without spaces between words, and the words for it."""

ROUTE_CODES = {"G-D101": "IV", "47625008": "IV", "C38276": "IV", "G-D140": "ORAL", "26643006": "ORAL"}
"""Codes of routes by SNOMED and the NCI."""
