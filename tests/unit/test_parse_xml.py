"""XML bodies: which ones are accepted, and which parameters they contain."""

from pathlib import Path

import pytest

from service.errors import BadRequest
from service.model import Format, Grouping, StatsQuery
from service.wire.parsing import parse_envelope, parse_query
from service.wire.parsing.parameters import MAX_DEPTH, MAX_MEMBERS
from service.wire.parsing.xml_body import is_costly


def isp_in(body: str) -> str | None:
    return query_in(body).isp


def query_in(body: str) -> StatsQuery:
    return parse_query(parse_envelope(body.encode()), Grouping.TOTAL)


def nested(levels: int) -> bytes:
    """A body with this number of levels. The root is the first level."""
    return b"<xml>" + b"<a>" * (levels - 1) + b"</a>" * (levels - 1) + b"</xml>"


@pytest.mark.parametrize(
    "declaration",
    [
        "",
        "<?xml version='1.0'?>",
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        '<?xml version="1.0" encoding="utf-8" standalone="yes"?>',
        ' \n\ufeff <?xml version="1.0" encoding="Utf-8"?><!-- a comment --><?target data?>',
    ],
)
def test_a_declaration_of_utf_8_is_accepted(declaration: str) -> None:
    assert isp_in(declaration + "<xml><id>119</id><isp>Почта</isp></xml>") == "Почта"


@pytest.mark.parametrize("encoding", ["US-ASCII", "us-ascii", "ASCII", "ascii", "UTF8", "utf8", "Utf8"])
@pytest.mark.parametrize("isp", ["Gmail", "Почта"])
def test_a_declaration_of_us_ascii_is_read_as_utf_8_which_contains_it(encoding: str, isp: str) -> None:
    """Bytes beyond ASCII are UTF-8 there too: every body is read as UTF-8."""
    assert isp_in(f"<?xml version='1.0' encoding='{encoding}'?><xml><id>119</id><isp>{isp}</isp></xml>") == isp


@pytest.mark.parametrize("encoding", ["us-ascii", "utf8"])
def test_other_bytes_than_utf_8_are_an_error_with_any_declaration(encoding: str) -> None:
    body = f"<?xml version='1.0' encoding='{encoding}'?><xml><id>119</id><isp>\xe9</isp></xml>".encode("latin-1")
    with pytest.raises(BadRequest, match="the body must be one XML document in UTF-8"):
        parse_envelope(body)


@pytest.mark.parametrize(
    "encoding", ["UTF-16", "ISO-8859-1", "windows-1251", "UTF-7", "UTF-8859", "ISO646-US", "ASCII8", "nonsense"]
)
def test_any_other_declared_encoding_is_an_error(encoding: str) -> None:
    with pytest.raises(BadRequest, match=r"\Athe XML body must declare UTF-8, US-ASCII, or no encoding\Z"):
        query_in(f'<?xml version="1.0" encoding="{encoding}"?><xml><id>119</id></xml>')


@pytest.mark.parametrize(
    "text",
    [
        "Gmail",
        "<![CDATA[Gmail]]>",
        "G<!-- a comment -->mail",
        "G<!-- <b> -->m<![CDATA[a]]><?target data?>i<![CDATA[]]>l",
        "&#71;&#x6d;ail",
    ],
)
def test_the_text_of_an_element_is_complete(text: str) -> None:
    assert isp_in(f"<xml><id>119</id><isp>{text}</isp></xml>") == "Gmail"


def test_a_long_text_is_complete() -> None:
    assert isp_in(f"<xml><id>119</id><isp>{'é&amp;' * 9000}</isp></xml>") == "é&" * 9000


def test_text_keeps_its_blanks_and_its_escaped_characters() -> None:
    assert isp_in("<xml><id>119</id><isp>\t a&lt;b&gt;c&amp;d&quot;&apos;]]&gt;&#13;\r\n</isp></xml>") == (
        "\t a<b>c&d\"']]>\r\n"
    )


@pytest.mark.parametrize(
    "element", ["<isp/>", "<isp></isp>", "<isp><!-- none --></isp>", "<isp><![CDATA[]]></isp>", ""]
)
def test_an_empty_element_counts_as_left_out(element: str) -> None:
    assert isp_in(f"<xml><id>119</id>{element}</xml>") is None


def test_the_word_null_is_a_text_like_any_other() -> None:
    assert isp_in("<xml><id>119</id><isp>null</isp></xml>") == "null"


def test_attributes_and_prefix_declarations_are_ignored() -> None:
    body = '<xml a="1" xmlns:p="urn:p" xmlns=""><id type="int" p:b="2" xmlns:q="urn:q">119</id></xml>'
    assert query_in(body) == StatsQuery(sender_id=119)


def test_text_between_the_elements_is_ignored() -> None:
    assert query_in("<xml>5<id>119</id>6 <![CDATA[7]]></xml>") == StatsQuery(sender_id=119)


def test_the_last_of_repeated_elements_is_used() -> None:
    assert query_in("<xml><id><b/></id><id>1</id><id>119</id></xml>") == StatsQuery(sender_id=119)
    assert isp_in("<xml><id>119</id><isp>Gmail</isp><isp/></xml>") is None


@pytest.mark.parametrize(
    "element",
    [
        "<ID>5</ID>",
        "<p:id xmlns:p='urn:p'>5</p:id>",
        "<extra><id>5</id><deep><er/></deep>text</extra>",
        "<extra xmlns='urn:extra'><id>5</id></extra>",
        "<extra><id xmlns='urn:extra'>5</id></extra>",
        "<xml><id>5</id></xml>",
    ],
)
def test_unknown_and_prefixed_elements_are_ignored_with_any_contents(element: str) -> None:
    for children in (f"<id>119</id>{element}", f"{element}<id>119</id>"):
        assert query_in(f"<xml>{children}</xml>") == StatsQuery(sender_id=119)


@pytest.mark.parametrize("name", ["id", "account_id", "campaign_id", "isp", "group"])
@pytest.mark.parametrize("template", ["<{0}><b/></{0}>", "<{0}>1<b>2</b></{0}>", "<{0} xmlns='urn:x'>1</{0}>"])
def test_a_child_element_or_a_default_namespace_in_a_parameter_is_an_error(name: str, template: str) -> None:
    with pytest.raises(BadRequest, match=f"{name} must be "):
        query_in(f"<xml><id>119</id>{template.format(name)}</xml>")


@pytest.mark.parametrize("name", ["token", "format"])
def test_the_same_is_an_error_in_the_token_and_the_format(name: str) -> None:
    envelope = parse_envelope(f"<xml><{name}>x<b/></{name}></xml>".encode())
    with pytest.raises(BadRequest, match=f"{name} must be "):
        getattr(envelope, name)()


@pytest.mark.parametrize(
    "body",
    [
        "<XML><id>119</id></XML>",
        "<request><id>119</id></request>",
        "<p:xml xmlns:p='urn:p'><id>119</id></p:xml>",
        "<xml xmlns='urn:x'><id>119</id></xml>",
    ],
)
def test_a_root_other_than_xml_in_no_namespace_is_an_error(body: str) -> None:
    with pytest.raises(BadRequest, match=r"\Athe XML body must have the root <xml>, in no namespace\Z"):
        query_in(body)


def doctypes(tmp_path: Path) -> list[str]:
    """Declarations that do harm in a parser that follows them."""
    secret = tmp_path / "secret"
    secret.write_text("119")
    laughs = "".join(f"<!ENTITY l{i} '{ten}'>" for i in range(1, 10) for ten in [f"&l{i - 1};" * 10])
    return [
        "<!DOCTYPE xml>",
        '<!DOCTYPE xml SYSTEM "http://127.0.0.1:9/x.dtd">',
        '<!DOCTYPE xml [<!ENTITY e "119">]>',
        f'<!DOCTYPE xml [<!ENTITY e SYSTEM "{secret.as_uri()}">]>',
        f'<!DOCTYPE xml [<!ENTITY % p SYSTEM "{secret.as_uri()}"> %p;<!ENTITY e "119">]>',
        f'<!DOCTYPE xml [<!ENTITY l0 "lol">{laughs}<!ENTITY e "&l9;">]>',
        "<!-- a comment -->\n<!DOCTYPE xml [<!ENTITY e '" + "9" * 30_000 + "'>]>",
    ]


def test_a_doctype_is_refused_before_any_entity_exists(tmp_path: Path) -> None:
    for doctype in doctypes(tmp_path):
        with pytest.raises(BadRequest, match="no DOCTYPE"):
            query_in(f"{doctype}<xml><id>{'&e;' * 1000}</id></xml>")


def test_a_text_that_looks_like_a_doctype_is_text() -> None:
    assert isp_in("<!-- <!DOCTYPE xml> --><xml><id>119</id><isp><![CDATA[<!DOCTYPE xml>]]></isp></xml>") == (
        "<!DOCTYPE xml>"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"<",
        b"<xml>",
        b"<xml><id>119</xml></id>",
        b"<xml/><xml/>",
        b"<xml/>text",
        b"<xml/>{}",
        b"<xml/>\xef\xbb\xbf",
        b"<xml><id>1 < 2</id></xml>",
        b"<xml><id>a & b</id></xml>",
        b"<xml><isp>]]></isp></xml>",
        b"<xml><id a=1>119</id></xml>",
        b"<xml><id a='1' a='2'>119</id></xml>",
        b"<xml><isp>&nbsp;</isp></xml>",
        b"<xml><isp>&#0;</isp></xml>",
        b"<xml><isp>&#1;</isp></xml>",
        b"<xml><isp>&#xD800;</isp></xml>",
        b"<xml><isp>&#xFFFF;</isp></xml>",
        b"<xml><isp>&#1114112;</isp></xml>",
        b"<xml><isp>\x00</isp></xml>",
        b"<xml><isp>\x08</isp></xml>",
        b"<xml><isp>\xff</isp></xml>",
        b"<xml><isp>\xed\xa0\x80</isp></xml>",
        b"<!-- only a comment -->",
        b"<?xml version='1.0'?>",
        b"<xml><?xml version='1.0'?></xml>",
        "<xml><id>119</id></xml>".encode("utf-16-le"),
    ],
)
def test_a_body_that_is_not_one_xml_document_in_utf_8_is_an_error(body: bytes) -> None:
    with pytest.raises(BadRequest, match="the body must be one XML document in UTF-8"):
        parse_envelope(body)


@pytest.mark.parametrize(
    ("body", "good_bytes"), [(b"<", 0), (b"  <xml></id>", 9), (b"<xml>\0\0</xml>", 5), (b" <xml>\xff</xml>", 6)]
)
def test_the_error_names_the_byte_up_to_which_a_body_is_valid(body: bytes, good_bytes: int) -> None:
    with pytest.raises(BadRequest, match=rf"and is not after byte {good_bytes}\Z"):
        parse_envelope(body)


def test_32_levels_are_read_and_33_are_not() -> None:
    assert "a" in parse_envelope(nested(MAX_DEPTH)).members
    with pytest.raises(BadRequest, match="32 levels"):
        parse_envelope(nested(MAX_DEPTH + 1))
    with pytest.raises(BadRequest, match="32 levels"):
        parse_envelope(b"<xml>" + b"<a>" * 20_000)


def test_256_members_are_read_and_257_are_not() -> None:
    children = "<id>119</id>" * MAX_MEMBERS
    assert query_in(f"<xml>{children}</xml>") == StatsQuery(sender_id=119)
    with pytest.raises(BadRequest, match="256 members"):
        query_in(f"<xml>{children}<extra/></xml>")


def test_an_unknown_element_may_have_any_number_of_children() -> None:
    assert query_in(f"<xml><id>119</id><extra>{'<b/>' * 1000}</extra></xml>") == StatsQuery(sender_id=119)


def test_a_body_with_much_markup_is_read_up_to_its_token_first() -> None:
    children = "<extra>" + "<b/>" * 5000 + "</extra>"
    envelope = parse_envelope(f"<xml><token>abc</token><format>json</format>{children}<id>119</id></xml>".encode())
    assert envelope.token() == "abc"
    assert envelope.valid_format() is Format.JSON
    assert envelope.format() is Format.JSON
    assert parse_query(envelope, Grouping.TOTAL) == StatsQuery(sender_id=119)
    assert "extra" in envelope.members


def test_an_error_in_a_body_with_much_markup_comes_after_the_check_of_its_token() -> None:
    envelope = parse_envelope(b"<xml><token>abc</token><extra>" + b"<b/>" * 5000 + b"</xml>")
    assert envelope.token() == "abc"
    assert envelope.valid_format() is None
    for read in (envelope.format, lambda: parse_query(envelope, Grouping.TOTAL)):
        with pytest.raises(BadRequest, match="must be one XML document"):
            read()
    with pytest.raises(BadRequest, match="must be one XML document"):
        parse_envelope(b"<xml><token>abc</xml>" + b"<b/>" * 5000)


def test_a_token_after_much_markup_is_not_searched_for() -> None:
    children = "<extra>" + "<b/>" * 5000 + "</extra>"
    for body in (f"<xml>{children}<token>abc</token></xml>", f"<xml>{children}<token>abc</token>{children}</xml>"):
        envelope = parse_envelope(body.encode())
        assert (envelope.token(), envelope.written_in) == (None, Format.XML)


def test_blanks_may_precede_the_declaration_of_a_body_with_much_markup() -> None:
    children = "<extra>" + "<b/>" * 5000 + "</extra>"
    envelope = parse_envelope(f"\n<?xml version='1.0'?><xml><id>119</id>{children}</xml>".encode())
    assert envelope.is_early
    assert parse_query(envelope, Grouping.TOTAL) == StatsQuery(sender_id=119)


@pytest.mark.parametrize(
    ("cheap", "more"),
    [
        (b"<" * 640, b"<"),
        (b"<" * 320 + b"=" * 320, b"="),
        *((b"<" * 640 + character * 24, character) for character in (b"&", b"\n", b"\r")),
        (b"<" * 639 + b"&" * 25 + b"\n" * 8 + b"\r" * 16, b"&"),
    ],
)
def test_a_body_has_little_markup_up_to_640_elements_or_25_times_as_many_entities_or_lines(
    cheap: bytes, more: bytes
) -> None:
    assert not is_costly(cheap)
    assert is_costly(cheap + more)


@pytest.mark.parametrize("text", ["é" * 30_000, "a" * 64_000, "&amp;" * 10_000, "<![CDATA[a]]>" * 300])
def test_a_long_body_with_little_markup_has_its_token_anywhere(text: str) -> None:
    assert parse_envelope(f"<xml><isp>{text}</isp><token>abc</token></xml>".encode()).token() == "abc"
