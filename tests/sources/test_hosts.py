"""Which hosts are reached, and who gets to see a token."""

import shutil
import ssl
import subprocess
import time

import pytest

from conftest import FILES, WEIGHTS, write_dir
from servers import Fault, Site


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]",
     "169.254.169.254", "10.0.0.1", "192.168.0.1", "100.64.0.1", "[fd00::1]", "[fe80::1]", "224.0.0.1"],
)
def test_special_addresses_are_refused(site, fetch, host):
    site.put("/x.zip", WEIGHTS)
    start = time.monotonic()
    outcome = fetch(f"http://{host}:{site.port}/x.zip", connect_timeout_ms=60_000)
    assert outcome["code"] == "permission" and "not a public address" in outcome["message"], outcome
    assert not site.seen
    assert time.monotonic() - start < 30, "refused, not tried"


@pytest.mark.parametrize("allow", ["127.0.0.1", "127.0.0.0/8", "127.0.0.1:{port}"])
def test_what_was_allowed_is_reached(site, fetch, allow):
    site.put("/x.zip", WEIGHTS)
    outcome = fetch(site.url + "/x.zip", allow=[allow.format(port=site.port)])
    assert outcome["code"] == "ok", outcome


def test_a_name_is_judged_by_what_it_resolves_to(site, fetch):
    site.put("/x.zip", WEIGHTS)
    url = f"http://localhost:{site.port}/x.zip"
    assert fetch(url, allow=["otherhost"])["code"] == "permission"
    assert fetch(url, allow=["localhost:1"])["code"] == "permission"
    assert fetch(url, allow=["localhost"])["code"] == "ok"
    assert fetch(url, allow=["127.0.0.0/8"])["code"] == "ok"


def test_a_rule_that_says_nothing_is_refused(site, fetch):
    assert fetch(site.url + "/x.zip", allow=["not a host"])["code"] == "invalid_argument"


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:{port}/x.zip", "http://169.254.169.254/latest/meta-data/", "http://localhost:{port}/x.zip",
     "//127.0.0.1:{port}/x.zip", "file:///etc/passwd", "ftp://127.0.0.1/"],
)
def test_a_redirect_to_a_forbidden_host_is_not_followed(site, other, fetch, target):
    other.put("/x.zip", WEIGHTS)
    location = {"Location": target.format(port=other.port)}
    site.fail("/x.zip", Fault(status=302, headers=location, method="*"))
    outcome = fetch(site.url + "/x.zip", allow=[site.host])
    assert outcome["code"] == "permission", outcome
    assert not other.seen


def test_redirects_are_followed_so_far_and_no_further(site, fetch):
    site.put("/x.zip", WEIGHTS)
    for method in ("HEAD", "GET"):
        site.fail("/x.zip", *[Fault(status=307, headers={"Location": "/x.zip"}, method=method)] * 3)
    assert fetch(site.url + "/x.zip", allow=[site.host])["code"] == "ok"
    site.fail("/x.zip", *[Fault(status=302, headers={"Location": "/x.zip"}, method="*")] * 100)
    outcome = fetch(site.url + "/x.zip", allow=[site.host])
    assert outcome["code"] == "source_failed" and "redirects" in outcome["message"]


def test_a_token_goes_to_the_first_host_only(site, other, fetch):
    other.put("/y.zip", WEIGHTS)
    for method in ("HEAD", "GET"):
        site.fail("/x.zip", Fault(status=302, headers={"Location": other.url + "/y.zip"}, method=method))
    outcome = fetch(site.url + "/x.zip", token="secret", allow=[site.host, other.host])
    assert outcome["code"] == "ok"
    assert all(seen.headers["authorization"] == "Bearer secret" for seen in site.seen)
    assert other.seen and not any("authorization" in seen.headers for seen in other.seen)


def test_an_endpoint_of_the_hub_opens_no_other_port(hub, other, fetch):
    """The operator named the Hub's endpoint, not whatever else runs on that machine."""
    other.put("/x.zip", WEIGHTS)
    outcome = fetch(other.url + "/x.zip", hub_endpoint=hub.url)
    assert outcome["code"] == "permission"


def test_what_is_no_source_is_refused(fetch):
    for uri in ["", "name", "a/b/c", "gopher://x/y", "hf://x", "s3://", "http://", "hf://a/b/../c", "s3://b/../c"]:
        assert fetch(uri)["code"] == "invalid_argument", uri


def test_a_directory_is_used_where_it_is(fetch, tmp_path):
    write_dir(tmp_path, FILES)
    first = fetch(f"file://{tmp_path}")
    assert first["code"] == "ok" and first["dir"] == str(tmp_path)
    assert fetch(str(tmp_path), known_revision=first["revision"])["unchanged"]
    (tmp_path / "adapter_config.json").write_bytes(b"{}")
    assert not fetch(str(tmp_path), known_revision=first["revision"])["unchanged"]


# ---- TLS ----


@pytest.fixture
def certificate(tmp_path):
    """For localhost, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, cert, config = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "openssl.cnf"
    config.write_text("[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = extensions\n"
                      "[name]\nCN = localhost\n[extensions]\nbasicConstraints = critical, CA:FALSE\n"
                      "subjectAltName = DNS:localhost, IP:127.0.0.1\n")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
               "-config", config]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


@pytest.fixture
def secure(certificate):
    key, cert = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with Site(context) as running:
        running.put("/x.zip", WEIGHTS)
        yield running


def test_certificates_are_checked(secure, certificate, fetch, monkeypatch):
    outcome = fetch(secure.url + "/x.zip", allow=[secure.host], retries=0)
    assert outcome["code"] == "source_failed" and "certificate" in outcome["message"], outcome
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    assert fetch(secure.url + "/x.zip", allow=[secure.host])["code"] == "ok"


def test_a_redirect_from_https_to_http_is_not_followed(secure, site, certificate, fetch, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    site.put("/x.zip", WEIGHTS)
    secure.fail("/x.zip", Fault(status=302, headers={"Location": site.url + "/x.zip"}, method="*"))
    outcome = fetch(secure.url + "/x.zip", allow=[secure.host, site.host])
    assert outcome["code"] == "permission" and "https" in outcome["message"]
    assert not site.seen
