"""Base URLs, proxies and the outbound policy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.upstream.connect import is_refused_address, is_refused_name
from tidegate.upstream.origin import Origin
from tidegate.upstream.proxy import Proxy


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "path", "header"),
    [
        ("https://api.example.com/v1", "https", "api.example.com", 443, b"/v1", b"api.example.com"),
        ("http://127.0.0.1:9000/v1/", "http", "127.0.0.1", 9000, b"/v1", b"127.0.0.1:9000"),
        ("https://API.Example.com", "https", "api.example.com", 443, b"", b"api.example.com"),
        ("http://[::1]:8000/a/b", "http", "::1", 8000, b"/a/b", b"[::1]:8000"),
        ("http://my_ollama:11434", "http", "my_ollama", 11434, b"", b"my_ollama:11434"),
        ("https://h:443/", "https", "h", 443, b"", b"h"),
        ("http://h/a%20b/c:d", "http", "h", 80, b"/a%20b/c:d", b"h"),
    ],
)
def test_a_plain_base_url_is_read(url, scheme, host, port, path, header):
    """Scheme, host, port and path come out in one normal form."""
    origin = Origin.parse(url)
    assert (origin.scheme, origin.host, origin.port, origin.base_path) == (scheme, host, port, path)
    assert origin.host_header == header
    assert Origin.parse(origin.url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com/v1",
        "ftp://h/",
        "HTTP://h/",
        "https://",
        "https:///v1",
        "https://user:pw@h/",
        "https://h@evil.example/",
        "https://evil.example#.good.example/",
        "https://good.example\\@evil.example/",
        "https://h/?a=b",
        "https://h/#f",
        "https://h/a b",
        "https://h/a\r\nx: y",
        "https://h\x00/",
        "https://h\n",
        " https://h",
        "https://h:0/",
        "https://h:65536/",
        "https://h:+80/",
        "https://h:8_0/",
        "https://h:/",
        "https://-h/",
        "https://h-/",
        "https://h../",
        "https://.h/",
        "https://" + "a" * 64 + ".x/",
        "https://" + "a." * 130 + "x/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://127.0.0.01/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://[::1%eth0]/",
        "http://[::1/",
        "http://[1:2]/",
        "http://::1/",
        "https://bücher.example/",
        "https://h/a/../b",
        "https://h/./b",
        "https://h//b",
        "https://h/%2e%2e/b",
        "https://h/a%2fb",
        "https://h/a%5Cb",
        "https://h/%zz",
        "https://h/%",
        "https://h/ü",
    ],
)
def test_an_odd_base_url_is_refused(url):
    """What two parsers might read differently is no base URL."""
    with pytest.raises(ValueError):  # noqa: PT011
        Origin.parse(url)


def test_a_refusal_does_not_repeat_the_url():
    """A password in a URL does not reach a log through the error."""
    with pytest.raises(ValueError, match="user or password") as caught:
        Origin.parse("https://user:hunter2@host/")
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_read_one_way_or_refused(text):
    """Whatever follows the scheme, either both parsers agree on the host or it is refused."""
    try:
        origin = Origin.parse("https://" + text)
    except ValueError:
        return
    assert origin.url.isascii()
    assert Origin.parse(origin.url) == origin


def origin(url: str) -> Origin:
    return Origin.parse(url)


def test_a_proxy_credential_is_sent_and_never_shown():
    """User and password become a header and stay out of `repr`."""
    proxy = Proxy.parse("http://us%40er:pa%3Ass@proxy.example:3128")
    assert (proxy.host, proxy.port) == ("proxy.example", 3128)
    assert proxy.authorization == b"Basic dXNAZXI6cGE6c3M="
    assert "dXN" not in repr(proxy)
    assert b"proxy-authorization: Basic dXNAZXI6cGE6c3M=\r\n" in proxy.connect_head(
        origin("https://a.example")
    )


@pytest.mark.parametrize("url", ["https://p:1", "socks5://p", "http://p:99999", "http://a b", ""])
def test_an_odd_proxy_is_refused(url):
    """Only plain http proxies are spoken to."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Proxy.parse(url)
    assert not url or url not in str(caught.value)


def test_a_proxied_request_names_the_whole_url():
    """Plain http goes through a proxy in absolute form, the rest of the head unchanged."""
    head = Proxy.parse("p:8080").absolute_head(
        origin("http://a.example:81"), b"POST /v1/x HTTP/1.1\r\nhost: a.example:81\r\n\r\n"
    )
    assert head == b"POST http://a.example:81/v1/x HTTP/1.1\r\nhost: a.example:81\r\n\r\n"


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("169.254.169.254", True),
        ("169.254.0.1", True),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("::ffff:169.254.169.254", True),
        ("64:ff9b::a9fe:a9fe", True),
        ("2002:a9fe:a9fe::1", True),
        ("fd00:ec2::254", True),
        ("100.100.100.200", True),
        ("168.63.129.16", True),
        ("224.0.0.1", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("fd00::1", False),
        ("8.8.8.8", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_the_policy_knows_what_it_refuses(address, refused):
    """Link-local, multicast and metadata are refused in every disguise; private ones are not."""
    assert is_refused_address(address) is refused


def test_metadata_names_are_refused():
    """A trailing dot makes no other name of it."""
    assert is_refused_name("metadata.google.internal")
    assert is_refused_name("metadata.google.internal.")
    assert not is_refused_name("metadata.example.com")
