from octavo.http.page import chat_example, page, page_response


def test_titles_and_models_are_text() -> None:
    assert "<h1>&lt;b&gt;</h1><p>x</p></html>" in page("<b>", "<p>x</p>")
    assert "<b>" not in chat_example("<b>")


def test_a_page_may_load_nothing() -> None:
    assert page_response("x").headers["content-security-policy"].startswith("default-src 'none'")
