"""Photos by their addresses: what is refused, and that the connection goes to the address that was checked."""

import http.server
import os
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from image_files import encode
from served_birds import API, ask, build_birds, draw_bird, refused, serve_birds

from glsim_mm.errors import GLSimError
from glsim_mm.search.server.addresses import Fetcher, is_public
from glsim_mm.search.server.problems import Problem
from glsim_mm.search.server.settings import Settings

HOST, PUBLIC = 'photos.example', '93.184.216.34'
PHOTO = encode(draw_bird('002.Wren', 1), 'PNG')


class Answers(http.server.BaseHTTPRequestHandler):
    """What the host of the tests answers, by path."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get('Host')))
        if self.path == '/drip':
            with_pauses(self)
            return
        status, headers, content = {
            '/bird.png?size=1': (200, {}, PHOTO),
            '/large': (200, {}, bytes(3 << 20)),
            '/moved': (302, {'Location': 'https://photos.example/bird.png'}, b''),
            '/page': (200, {'Content-Type': 'image/png'}, b'<svg onload="alert(1)"/>'),
        }.get(self.path, (404, {}, b''))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


def with_pauses(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b'x')
        handler.server.drips.append(1)
        if handler.server.over.wait(0.05):
            return


@pytest.fixture(scope='module')
def host(tmp_path_factory):
    """A server with a certificate for photos.example, on a port of this machine."""
    if shutil.which('openssl') is None:
        give_up = pytest.fail if os.environ.get('GLSIM_REQUIRE_SHARED') == '1' else pytest.skip
        give_up('needs openssl to make a certificate')
    folder = tmp_path_factory.mktemp('certificate')
    names = ['-subj', f'/CN={HOST}', '-addext', f'subjectAltName=DNS:{HOST}']
    keys = [
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-keyout',
        'key.pem',
        '-out',
        'certificate.pem',
    ]
    command = ['openssl', 'req', '-x509', '-nodes', '-days', '2', *keys, *names]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Answers)
    server.seen, server.drips, server.over = [], [], threading.Event()
    server.daemon_threads, server.handle_error = True, lambda *_: None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / 'certificate.pem', folder / 'key.pem')
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.certificate = str(folder / 'certificate.pem')
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def internet(host, monkeypatch):
    """Names and addresses of the internet as sockets see them: one host, whose certificate is trusted."""
    names = {HOST: [[PUBLIC]]}
    connected, looked_up = [], []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def get_addresses(name, port, *args, **options):
        if name not in names:
            return look_up(name, port, *args, **options)
        looked_up.append(name)
        answers = names[name].pop(0) if len(names[name]) > 1 else names[name][0]
        families = [socket.AF_INET6 if ':' in one else socket.AF_INET for one in answers]
        return [(family, socket.SOCK_STREAM, 6, '', (one, port)) for family, one in zip(families, answers)]

    def connect_here(self, address):
        connected.append(address[0])
        return connect(self, ('127.0.0.1', host.server_address[1]) if address[0] == PUBLIC else address)

    monkeypatch.setattr(socket, 'getaddrinfo', get_addresses)
    monkeypatch.setattr(socket.socket, 'connect', connect_here)
    monkeypatch.setenv('SSL_CERT_FILE', host.certificate)
    host.seen.clear()
    host.names, host.connected, host.looked_up = names, connected, looked_up
    return host


def problem_of(fetcher, url):
    with pytest.raises(Problem) as refusal:
        fetcher.fetch(url)
    return refusal.value


def test_a_search_by_address(internet, tmp_path):
    built = build_birds(tmp_path / 'birds', 2)
    url = f'https://{HOST}/bird.png?size=1#part'
    with serve_birds(built) as client:
        refused(ask(client, 'search', url=url), 403, 'no-addresses')
        assert client.get(f'{API}/info').json()['addresses'] == [] and not internet.looked_up
    with serve_birds(built, allow_urls=(HOST,)) as client:
        answer = ask(client, 'search', url=url, k=1).json()
        assert answer['hits'][0]['path'] == '002.Wren/1.png' and 'fetch' in answer['milliseconds']
        assert internet.seen == [('/bird.png?size=1', HOST)] and internet.connected == [PUBLIC]
        refused(ask(client, 'search', PHOTO, url=url), 422, 'wrong-request')
        assert 'no photo of a kind' in refused(ask(client, 'search', url=f'https://{HOST}/page'), 422, 'no-photo')
        assert client.get(f'{API}/info').json()['addresses'] == [HOST]


@pytest.mark.parametrize(
    'url',
    [
        f'http://{HOST}/',
        f'https://{HOST}:8443/',
        f'https://{HOST}.evil.example/',
        f'https://evil.example/{HOST}',
        f'https://{HOST}@evil.example/',
        f'https://user:word@{HOST}/',
        'https://127.0.0.1/',
        'https://[::1]/',
        'https://2130706433/',
        f'https://{HOST}/a b',
        f'https://{HOST}/\r\nX: y',
        f'https://{HOST}:99999/',
        'file:///etc/passwd',
        'https://',
        '//photos.example/',
        'photos\u3002example',
    ],
)
def test_addresses_that_are_refused_before_any_look_up(internet, url):
    assert problem_of(Fetcher([HOST], 1 << 20), url).kind == 'address-refused'
    assert not internet.looked_up and not internet.connected


@pytest.mark.parametrize(
    'answers', [['127.0.0.1'], ['10.0.0.5'], ['169.254.169.254'], ['::1'], ['::ffff:10.0.0.1'], [PUBLIC, '192.168.0.1']]
)
def test_hosts_that_lead_to_other_machines_of_the_server_are_refused(internet, answers):
    internet.names[HOST] = [answers]
    assert problem_of(Fetcher([HOST], 1 << 20), f'https://{HOST}/').kind == 'address-refused'
    assert not internet.connected


def test_a_name_that_changes_its_mind_leads_nowhere(internet):
    internet.names[HOST] = [[PUBLIC], ['127.0.0.1']]
    assert Fetcher([HOST], 1 << 20).fetch(f'https://{HOST}/bird.png?size=1') == PHOTO
    assert internet.looked_up == [HOST] and internet.connected == [PUBLIC]


def test_what_hosts_answer_is_limited(internet):
    fetcher = Fetcher([HOST], 1 << 20)
    assert problem_of(fetcher, f'https://{HOST}/large').kind == 'too-long'
    assert 'redirects are not followed' in problem_of(fetcher, f'https://{HOST}/moved').detail
    assert 'status 404' in problem_of(fetcher, f'https://{HOST}/none').detail
    assert [path for path, _ in internet.seen] == ['/large', '/moved', '/none']  # nothing was followed
    assert 'took more than' in problem_of(Fetcher([HOST], 1 << 20, 0.4), f'https://{HOST}/drip').detail
    assert 0 < len(internet.drips) < 100, 'bytes that come one by one must not prolong the limit'


def test_certificates_are_checked(internet, monkeypatch):
    internet.names['other.example'] = [[PUBLIC]]
    other = problem_of(Fetcher(['other.example'], 1 << 20), 'https://other.example/')
    assert 'certificate is not valid' in other.detail and not internet.seen
    monkeypatch.delenv('SSL_CERT_FILE')
    assert 'certificate is not valid' in problem_of(Fetcher([HOST], 1 << 20), f'https://{HOST}/').detail


@pytest.mark.parametrize(
    'address',
    '0.0.0.0 10.1.2.3 100.64.0.1 127.9.9.9 169.254.1.1 172.16.0.1 192.0.0.8 192.168.1.1 198.18.0.1 224.0.0.1 240.0.0.1 '
    '255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::10.0.0.1 2002:7f00:1:: '
    '2001:0:1::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 2001:db8::1 no-address'.split(),
)
def test_ranges_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize('address', [PUBLIC, '8.8.8.8', '2606:2800:220:1::1', '::ffff:8.8.8.8', '64:ff9b::8.8.8.8'])
def test_ranges_that_are_public(address):
    assert is_public(address)


def test_hosts_are_named_alone():
    for host in ('photos.example', 'photos.example:8443', '[2606:2800::1]', '[2606:2800::1]:443'):
        Settings(allow_urls=(host,)).check()
    for host in ('https://photos.example', 'photos.example/x', '*', ''):
        with pytest.raises(GLSimError, match='name a host alone'):
            Settings(allow_urls=(host,)).check()
