"""Recipes for deploying: their commands, what they install, and a server below a path that a proxy gives it."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tiny_run import ROOT, load_tool, run_command

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from running_servers import listening
from served_birds import API, build_birds, serve_birds
from starlette.responses import JSONResponse

from glsim_mm.errors import GLSimError
from glsim_mm.http_client import HttpClient
from glsim_mm.search import ExportedEncoder, add_images
from glsim_mm.search.server.running import forwarding
from glsim_mm.search.server.settings import Settings
from retrieval.gallery import create_gallery

DEPLOY = ROOT / 'docs' / 'guides' / 'deploy'
HEAVY = {'torch', 'torchvision', 'timm', 'mmengine', 'mmpretrain', 'mmcv', 'mmcv-lite', 'faiss-gpu'}
# Serves and searches where no other package than those of a list can be imported.
PROGRAM = """
import runpy, sys
from importlib.machinery import PathFinder

allowed, tools, gallery, model, photo = sys.argv[1:]
allowed, find = set(allowed.split(',')), PathFinder.find_spec

def find_allowed(name, path=None, target=None):
    found = find(name, path, target)
    places = [] if found is None else [str(found.origin), *(found.submodule_search_locations or ())]
    if name.partition('.')[0] in allowed or not any('site-packages' in place for place in places):
        return found
    sys.stderr.write(f'refused {name}\\n')

PathFinder.find_spec = find_allowed
sys.path.insert(0, tools)
import serve
sys.path[0] = ''
from glsim_mm.search.server.app import create_app
from glsim_mm.search.server.galleries import open_galleries
from glsim_mm.search.server.settings import Settings
import asyncio, json
from pathlib import Path

app = create_app(open_galleries([gallery], checkpoint=model, device='cpu'), Settings(), Path('.'), Path('.'))

async def ask():
    sent, body = [], b'--x\\r\\nContent-Disposition: form-data; name="photo"; filename="a"\\r\\n\\r\\n'
    body += open(photo, 'rb').read() + b'\\r\\n--x--\\r\\n'
    headers = [(b'host', b'localhost'), (b'content-type', b'multipart/form-data; boundary=x')]
    scope = dict(type='http', method='POST', path='/api/v1/search', headers=headers, query_string=b'', client=('a', 1))
    messages = iter([dict(type='http.request', body=body)])

    async def receive():
        for message in messages:
            return message
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message.get('body', b''))

    async with app.state.service.running():
        await app(scope, receive, send)
    print(json.loads(b''.join(sent))['hits'][0]['path'])

asyncio.run(ask())
"""


def read_requirements(*names):
    lines = [line for name in names for line in (ROOT / 'requirements' / name).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith('#')]


def installed_modules(requirements):
    """Modules at the top of all packages that come with some requirements, as they are installed here."""
    stand_ins = {'opencv-python-headless': 'opencv-python', 'faiss-cpu': 'faiss-gpu'}  # other builds of the same
    waiting, found = [(one, ()) for one in requirements], set()
    while waiting:
        one, extras = waiting.pop()
        name = canonicalize_name(one.name)
        if one.marker and not any(one.marker.evaluate(dict(extra=extra)) for extra in ('', *extras)):
            continue
        if name not in found:
            found.add(name)
            distribution = metadata.distribution(stand_ins.get(name, name))
            waiting += [(Requirement(text), one.extras) for text in distribution.requires or ()]
    owners = metadata.packages_distributions()
    known = found | {stand_ins.get(name, name) for name in found}
    return found, {module for module, names in owners.items() if known & {canonicalize_name(name) for name in names}}


def test_the_container_installs_no_torch_and_all_that_serving_imports(made, tmp_path):
    recipe = (DEPLOY / 'Dockerfile').read_text()
    files = re.findall(r'-r /requirements/(\S+)', recipe)
    assert files == ['light.txt', 'serve.txt'] and '--no-deps /wheels' in recipe
    packages, modules = installed_modules(read_requirements(*files))
    assert not packages & HEAVY
    encoder = ExportedEncoder(made[3], device='cpu')
    with create_gallery(tmp_path / 'gallery', encoder.dimensions, fingerprint=encoder.fingerprint) as gallery:
        add_images(gallery, encoder, str(made[2]), num_workers=0, progress=False)
    photo = made[2] / 'plain' / 'plain0.png'
    words = (','.join(sorted(modules)), ROOT / 'tools', tmp_path / 'gallery', made[3], photo)
    done = run_command(sys.executable, '-c', PROGRAM, *words, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.stdout.strip().endswith('plain/plain0.png'), done.stderr
    refused = set(re.findall('refused ([a-z_0-9]+)', done.stderr))
    assert not refused & {canonicalize_name(name).replace('-', '_') for name in packages}


def test_the_container_runs_as_nobody_and_tells_its_health():
    lines = (DEPLOY / 'Dockerfile').read_text().replace('\\\n', '').splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith('#')]
    (user,) = [rest for step, rest in steps if step == 'USER']
    assert user.isdecimal() and int(user) > 0 and [step for step, _ in steps].index('USER') < len(steps) - 1
    (health,) = [rest for step, rest in steps if step == 'HEALTHCHECK']
    assert f'{API}/readyz' in health and compile(json.loads(health.partition('CMD ')[2])[2], 'health', 'exec')
    entry, command = (json.loads(next(rest for step, rest in steps if step == kind)) for kind in ('ENTRYPOINT', 'CMD'))
    assert entry == ['glsim', 'serve']
    args = load_tool('serve').parse_args(command)
    assert (args.galleries, args.model, args.host) == (['/gallery'], '/model.onnx', '0.0.0.0') and args.token_file
    copied = {path for step, rest in steps if step == 'COPY' for path in rest.split()[:-1] if not path.startswith('-')}
    assert copied == {'.', 'requirements/light.txt', 'requirements/serve.txt'}
    kept = {line[1:] for line in (DEPLOY / 'Dockerfile.dockerignore').read_text().splitlines() if line.startswith('!')}
    assert all((ROOT / name).exists() for name in kept)
    assert {'configs', 'glsim_mm', 'requirements', 'retrieval', 'tools', 'setup.py', 'pyproject.toml'} <= kept


def test_the_unit_is_hardened_and_its_command_is_one(tmp_path):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string((DEPLOY / 'glsim.service').read_text().replace('\\\n', ' '))
    service = unit['Service']
    words = shlex.split(service['ExecStart'])
    args = load_tool('serve').parse_args(words[2:])
    assert Path(words[0]).name == 'glsim' and words[1] == 'serve'
    Settings(args.host, token='', root_path=args.root_path).check()
    assert args.token_file.startswith('${CREDENTIALS_DIRECTORY}/') and args.proxy == ['127.0.0.1']
    wanted = dict(DynamicUser='yes', ProtectSystem='strict', NoNewPrivileges='yes', CapabilityBoundingSet='')
    assert {name: service[name] for name in wanted} == wanted
    if shutil.which('systemd-analyze'):
        copy = tmp_path / 'glsim.service'
        copy.write_text((DEPLOY / 'glsim.service').read_text().replace('/opt/glsim/bin/glsim', sys.executable))
        done = subprocess.run(['systemd-analyze', 'verify', copy], capture_output=True, text=True)
        assert str(copy) not in done.stderr and 'glsim.service' not in done.stderr, done.stderr


def test_the_proxy_passes_on_what_the_server_needs():
    text = re.sub('#.*', '', (DEPLOY / 'nginx.conf').read_text())
    said = dict(re.findall(r'proxy_set_header (\S+) (\S+);', text))
    assert (
        said['Host'] == '$http_host'
        and said['X-Forwarded-For'] == '$remote_addr'
        and said['X-Forwarded-Proto'] == '$scheme'
    )
    assert 'proxy_buffering off;' in text and text.count('{') == text.count('}')
    (limit,) = re.findall(r'client_max_body_size (\d+)m;', text)
    assert int(limit) << 20 == Settings().max_request_bytes
    (seconds,) = re.findall(r'proxy_read_timeout (\d+)s;', text)
    assert int(seconds) > Settings().seconds
    assert re.findall(r'server 127.0.0.1:(\d+);', text) == [str(Settings().port)]
    unit = (DEPLOY / 'glsim.service').read_text()
    (place,) = re.findall(r'location (/\S+/) \{', text)
    assert (
        f'--root-path {place.rstrip("/")} ' in unit.replace('\\\n', '')
        and re.findall('server_name (.*);', text)[0] in unit
    )


# -- below a path ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def birds(tmp_path_factory):
    return build_birds(tmp_path_factory.mktemp('birds') / 'birds', each=2)


@pytest.mark.parametrize('is_whole', [True, False], ids=['whole path', 'path cut off'])
def test_page_and_api_work_below_a_path(birds, is_whole):
    root = '/our/birds' if is_whole else ''
    with serve_birds(birds, token='a-token-of-the-tests', root_path='/our/birds', writable=True) as client:
        page = client.get(f'{root}/').text
        for address in re.findall(r'(?:src|href)="((?:page/|docs)[^"]*)"', page + client.get(f'{root}/docs').text):
            assert client.get(f'{root}/{address}').status_code == 200, address
        for script in re.findall(r"from '\./(\w+\.js)'", client.get(f'{root}/page/main.js').text):
            assert client.get(f'{root}/page/{script}').status_code == 200, script
        assert client.get(f'{root}{API}/info').status_code == 401  # the guard knows which paths are open
        assert client.get(f'{root}{API}/healthz').status_code == client.get(f'{root}/v2/health/live').status_code == 200
        given = client.post(f'{root}{API}/session', headers={'authorization': 'Bearer a-token-of-the-tests'})
        assert 'Path=/our/birds' in given.headers['set-cookie']
        bearer = {'authorization': 'Bearer a-token-of-the-tests'}
        described = client.get(f'{root}{API}/openapi.json', headers=bearer).json()
        assert described['servers'] == [{'url': '/our/birds'}] and f'{API}/search' in described['paths']
        found = client.post(f'{root}{API}/search', json=dict(id=1, k=2), headers=bearer)
        assert len(found.json()['hits']) == 2
        job = client.post(f'{root}{API}/jobs/evaluate', json={}, headers=bearer)
        assert client.get(job.headers['location'], headers=bearer).json()['kind'] == 'evaluate'
        assert client.get('/our/birdsong/', headers=bearer).status_code == 404


@pytest.mark.parametrize(
    'path', ['birds', '/birds/', '/', '/a b', '/api', '/v2/birds', '//birds', '/birds?x', '/../x/']
)
def test_paths_that_a_server_cannot_be_shown_below(path):
    with pytest.raises(GLSimError, match='must be a path such as /birds'):
        Settings(root_path=path).check()


def test_a_proxy_is_believed_when_it_says_who_asks():
    async def app(scope, receive, send):
        if scope['type'] == 'http':
            await JSONResponse([scope['client'][0], scope['scheme']])(scope, receive, send)

    said = {'X-Forwarded-For': '203.0.113.9', 'X-Forwarded-Proto': 'https'}
    for proxies, wanted in (([], ['127.0.0.1', 'http']), (['127.0.0.1'], ['203.0.113.9', 'https'])):
        with listening(app, **forwarding(Settings(proxies=proxies)), lifespan='off') as url:
            assert HttpClient(url).ask('GET', '/', headers=said).json() == wanted
