"""Feeds in XML, as Google Merchant, shops and price comparers have them."""

import gzip
import json
from xml.sax.saxutils import escape

import pytest
from completelook.errors import TableError
from completelook.products import read_products, xml_feed
from hypothesis import example, given
from hypothesis import strategies as st

RSS = """<?xml version="1.0"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>
<title>The shop</title><link>https://shop.example</link>
<item>
  <g:id>0012</g:id><title>Sofa &amp; stool</title><link>https://shop.example/12</link>
  <description><![CDATA[<b>Soft</b>]]></description>
  <g:image_link>https://shop.example/12.jpg</g:image_link>
  <g:additional_image_link>https://shop.example/12b.jpg</g:additional_image_link>
  <g:additional_image_link>https://shop.example/12c.jpg</g:additional_image_link>
  <g:price>49.90 EUR</g:price>
  <g:google_product_category>Furniture &gt; Sofas</g:google_product_category>
  <g:shipping><g:country>DE</g:country><g:price>4.90 EUR</g:price></g:shipping>
</item>
<item>
  <title>Plain</title><g:title>Rug</g:title><g:id>13</g:id>
  <g:image_link>https://shop.example/13.jpg</g:image_link>
  <g:google_product_category>1234</g:google_product_category>
  <g:product_type>Rugs</g:product_type><g:product_type>Sale</g:product_type>
</item>
</channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0">
<title>The shop</title><id>tag:shop.example</id>
<entry><id>tag:shop.example/1</id><g:id>1</g:id><link href="https://shop.example/1"/>
<g:image_link>a.jpg</g:image_link><g:product_type>Rugs</g:product_type></entry></feed>"""
SHOPS = {
    "attributes": '<products><product id="1" image="a.jpg" category="Rugs"/></products>',
    "elements": "<shop><PRODUCT><Id>1</Id><Image>a.jpg</Image><Category>Rugs</Category></PRODUCT>"
    "</shop>",
    "both": '<a><offer id="x"><id>1</id><image>a.jpg</image><image>b.jpg</image>'
    "<category>Rugs</category></offer></a>",
    "deep": "<a><b><c><item><id>1</id><image>a.jpg</image><category>Rugs</category>"
    "<item><id>2</id></item></item></c></b></a>",
}


@pytest.fixture
def write(write):
    return lambda content, name="feed.xml": write(content, name)


def test_a_google_merchant_feed_goes_in_as_it_is(write):
    products = read_products(write(RSS))
    sofa, rug = products.table.to_pylist()
    assert sofa == {
        "id": "0012",
        "image": "https://shop.example/12.jpg",
        "category": "Furniture > Sofas",
        "title": "Sofa & stool",
        "link": "https://shop.example/12",
        "description": "<b>Soft</b>",
        "additional_image_link": [f"https://shop.example/12{n}.jpg" for n in "bc"],
        "price": "49.90 EUR",
        "shipping": json.dumps({"country": "DE", "price": "4.90 EUR"}),
        "product_type": None,
    }
    assert (rug["title"], rug["category"]) == ("Rug", "Rugs")
    assert (rug["price"], rug["product_type"]) == (None, ["Rugs", "Sale"])
    assert list(products.rows) == [1, 2]
    assert any("Google Merchant feed" in note for note in products.notes)


def test_an_atom_feed_is_one_too(write, tmp_path):
    (product,) = read_products(write(ATOM)).table.to_pylist()
    assert product == {
        "id": "1",
        "image": str(tmp_path / "a.jpg"),
        "category": "Rugs",
        "link": "https://shop.example/1",
    }


@pytest.mark.parametrize("name", ["feed.xml", "feed.csv", "feed.xml.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "iso-8859-1", "windows-1252", "utf-16"])
def test_a_feed_is_known_by_its_content_or_its_name(write, name, encoding):
    if (name, encoding) == ("feed.csv", "utf-16"):
        name = "feed.xml"
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    text = RSS.replace("?>", f" encoding='{declared}'?>", 1).replace("Plain", "Größe")
    content = text.replace("<g:title>Rug</g:title>", "").encode(encoding)
    products = read_products(
        write(gzip.compress(content) if name.endswith("gz") else content, name)
    )
    assert products.table["title"].to_pylist() == ["Sofa & stool", "Größe"]


@pytest.mark.parametrize("text", SHOPS.values(), ids=SHOPS)
def test_a_list_of_a_shops_own_is_read_alike(write, tmp_path, text):
    (product,) = read_products(write(text)).table.select(["id", "image", "category"]).to_pylist()
    assert product == {"id": "1", "image": str(tmp_path / "a.jpg"), "category": "Rugs"}


def test_a_bad_item_stops_none_of_the_others(write):
    path = write(RSS.replace("<g:id>13</g:id>", ""))
    products = read_products(path)
    assert products.table["id"].to_pylist() == ["0012"]
    assert [(skip.row, skip.reason) for skip in products.skipped] == [(2, "no id")]


LAUGHS = "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">'
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RSS[:-40], "not whole XML .*line"),
        (RSS.replace(" xmlns:g=", " x="), "unbound prefix"),
        ("<?xml version='1.0'?><rss/>", "without products: expected an element each: <item>"),
        (f'<!DOCTYPE a [<!ENTITY a "ha">{LAUGHS}]><item>&i;</item>', "amplification"),
        (
            '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><a><item><id>&a;</id></item></a>',
            "undefined entity",
        ),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "klingon"),
        ('<?xml version="1.0" encoding="shift_jis"?><a/>', "multi-byte"),
        (f"<item>{'<a>' * 9000}{'</a>' * 9000}</item>", "nested too deeply"),
    ],
    ids=["cut", "prefix", "empty", "laughs", "file", "encoding", "multi-byte", "deep"],
)
def test_xml_that_cannot_be_read_is_a_table_error(write, text, message):
    with pytest.raises(TableError, match=message):
        read_products(write(text))


texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")
)
items = st.lists(
    st.dictionaries(
        st.sampled_from(["name", "size", "note"]), st.lists(texts, min_size=1, max_size=3)
    ),
    max_size=7,
)


@given(items)
@example([{"name": ["a"]}, {}, {"name": ["b"], "size": ["1e5"]}])
def test_every_cell_comes_back_as_it_was_written(tmp_path_factory, items):
    def written(cells):
        own = {**cells, "id": ["1"]}
        return "".join(f"<{n}>{escape(text)}</{n}>" for n, each in own.items() for text in each)

    path = tmp_path_factory.mktemp("xml") / "feed.xml"
    text = "<a><item><id>0</id></item>" + "".join(f"<item>{written(each)}</item>" for each in items)
    path.write_text(f"{text}</a>", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xml_feed, "_ITEMS_AT_ONCE", 3)
        read = xml_feed.read_xml(path).table.to_pylist()[1:]
    several = {
        name for cells in items for name in cells if any(len(o.get(name, [])) > 1 for o in items)
    }
    for cells, row in zip(items, read, strict=True):
        for name, each in cells.items():
            stripped = [text.strip() for text in each]
            assert row[name] == (stripped if name in several else stripped[0])
        assert all(row[name] is None for name in row if name not in cells and name != "id")
