"""A caption as XMP, the metadata that photo programs read, alone or among what such a program keeps."""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from distilcap.errors import DataError
from distilcap.shown import shown

__all__ = ["of_caption", "others", "with_caption"]

_SPACES = {
    "dc:description": "http://purl.org/dc/elements/1.1/",
    "Iptc4xmpCore:AltTextAccessibility": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
}
_CAPTION = re.compile(
    rb"\s*<(dc:description|Iptc4xmpCore:AltTextAccessibility)(?:\s[^>]*)?(?<!/)>.*?</\1\s*>", re.DOTALL
)
"""What `of_caption` says of a photograph; the prefixes are those that all programs write."""
_END = re.compile(rb"(?:</rdf:Description\s*>\s*)?</rdf:RDF\s*>(?!.*</rdf:RDF)", re.DOTALL)


def of_caption(caption: str) -> str:
    """A file with a caption as description (`dc:description`) and as alternative text."""
    text = _alternative(caption)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"\n'
        ' xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/">\n'
        f"<dc:description>{text}</dc:description>\n"
        f"<Iptc4xmpCore:AltTextAccessibility>{text}</Iptc4xmpCore:AltTextAccessibility>\n"
        "</rdf:Description>\n</rdf:RDF>\n</x:xmpmeta>\n"
        '<?xpacket end="w"?>\n'
    )


def others(content: bytes) -> bytes:
    """What a file says besides a caption; empty where that is nothing."""
    rest = _CAPTION.sub(b"", content)
    return b"" if rest == _CAPTION.sub(b"", of_caption("").encode()) or not rest.strip() else rest


def with_caption(others: bytes, caption: str) -> bytes:
    """Put a caption into what `others` gives.

    Raises:
        DataError: it is no XMP, or it is written so that the caption is still in it.
    """
    text = _alternative(caption)
    said = "".join(
        f'<{name} xmlns:{name.partition(":")[0]}="{space}">{text}</{name}>\n'
        for name, space in _SPACES.items()
    )
    if end := _END.search(others):
        new = said.encode("ascii", "xmlcharrefreplace")  # right in whatever encoding the file declares
        if not end[0].startswith(b"</rdf:Description"):  # `<rdf:Description … />`, with all in its attributes
            about = re.search(rb"""rdf:about\s*=\s*("[^"<]*"|'[^'<]*')""", others)
            new = b"<rdf:Description rdf:about=%s>\n%s</rdf:Description>\n" % (
                about[1] if about else b'""',
                new,
            )
        whole = others[: end.start()] + new + others[end.start() :]
        if _says_once(whole):
            return whole
    raise DataError("its caption cannot be replaced by itself, so it is left as it is; move it or edit it.")


def _says_once(content: bytes) -> bool:
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):  # an encoding that is unknown
        return False
    names = Counter(name for element in root.iter() for name in (element.tag, *element.attrib))
    return all(names[f"{{{space}}}{name.partition(':')[2]}"] == 1 for name, space in _SPACES.items())


def _alternative(caption: str) -> str:
    return f'<rdf:Alt><rdf:li xml:lang="x-default">{escape(shown(caption))}</rdf:li></rdf:Alt>'
