"""Encode images into a gallery: glsim build IMAGES CONFIG CHECKPOINT --out GALLERY."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Encode images into a gallery that can be searched.

If it is stopped, by Ctrl-C or a kill, the same command goes on from there:
until the gallery is whole, what was encoded lies in GALLERY.parts. On several
nodes, see bash tools/dist_encode.sh and glsim ray-encode."""


def parse_args(
    argv: list[str] | None = None,
    description: str = DESCRIPTION,
    add_processes: Callable[[Any], None] = cli.add_launcher,
) -> argparse.Namespace:
    """Arguments of the command line, whose last options say in which processes it runs."""
    first = cli.Parser(add_help=False)
    first.add_argument('--encoder')
    has_encoder = first.parse_known_args(argv)[0].encoder is not None
    parser = cli.Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_new_images(
        parser,
        'folders (the sub-folder of an image is its label), image files, patterns such as "photos/**/*.jpg"; or '
        'one list (.txt: a path per line) or table (.csv with a column path; label, split and any others)',
    )
    parser.add_argument(
        '--from',
        dest='source',
        metavar='GALLERY',
        help='in place of images: the rows of this gallery, with ids, labels and metadata, for another model',
    )
    if not has_encoder:
        cli.add_config(parser, ' of the model (not with --encoder)')
        parser.add_argument('checkpoint', help='its weights: path or URL (not with --encoder)')
    group = cli.add_encoder(parser)
    cli.add_number(
        group,
        '--crop-scale',
        'cut regions and centres out of an image of so many times the network input, where photos have the pixels; '
        'default: out of the network input (with a config: model.second_look.scale)',
    )
    group.add_argument(
        '--region', metavar='FILE', help='JSON file of glsim choose-region; default: a quarter of the patches'
    )
    parser.add_argument(
        '--out',
        required=True,
        type=cli.OutputFolder,
        metavar='GALLERY',
        help='folder of the gallery, or milvus://...',
    )
    cli.add_root(
        parser,
        'folder to which paths in the gallery are relative; default: that of the images. With --from: where photos of '
        'its roots lie now; may be given several times',
    )
    what = parser.add_argument_group('what to keep of each image')
    what.add_argument(
        '--spaces',
        nargs='+',
        metavar='SPACE',
        help='embeddings, the first is searched by default: global, aggregated, crop, concat of a GLSim model, global '
        'and centre of any, or all; default: global aggregated crop; with --encoder: global crop centre, whose sum is '
        'searched, at 3 passes a photo',
    )
    what.add_argument(
        '--keep-patches',
        action='store_true',
        help='tokens of the selected patches, for --rerank region and --explain of glsim search',
    )
    cli.add_number(what, '--whiten', 'whiten embeddings to DIM dimensions by PCA', metavar='DIM')
    what.add_argument(
        '--metric-from',
        choices=['auto', 'labels', 'none'],
        default='auto',
        help='labels: learn from them which directions of the embeddings to trust, as glsim metric does; kept, and '
        'searched by default, if classes that were held out gain. auto, the default: with --encoder, the same, or '
        'the sum of the embeddings; else the first of them. none: the first',
    )
    what.add_argument(
        '--metric-space',
        metavar='SPACE',
        help='what to learn a metric of: one of --spaces, or several, as global+centre; default: the first, '
        'with --encoder all',
    )
    index = parser.add_argument_group('index')
    index.add_argument('--preset', help='kind of index, or a FAISS factory string; default: auto, or that of --from')
    index.add_argument('--metric', help='cosine, ip or l2; default: cosine, or that of --from')
    index.add_argument('--memory-limit', type=float, metavar='GIB', help='memory that the index may take')
    work = parser.add_argument_group('work')
    cli.add_encoding_options(work)
    work.add_argument('--overwrite', action='store_true', help='replace a gallery that is there, once the new is whole')
    cli.add_overrides(work)
    add_processes(work)
    args = parser.parse_intermixed_args(argv)
    if sum(map(bool, (args.images, args.dataset, args.source))) != 1:
        parser.error('give either images, --dataset or --from')
    if args.source and args.exclude:
        parser.error('--from takes over all rows: leave out --exclude, and remove rows with glsim remove')
    if has_encoder and (args.dataset or args.cfg_options):
        parser.error('--dataset and --cfg-options are for the config of a model, which --encoder does without')
    if not has_encoder and (args.arch or args.image_size or args.crop_scale or args.region):
        parser.error('--arch, --image-size, --crop-scale and --region go with --encoder')
    if args.metric_space and args.metric_from == 'none':
        parser.error('--metric-space goes with --metric-from labels')
    if args.metric_from == 'labels' and args.whiten:
        parser.error('give either --whiten or --metric-from')
    if args.memory_limit is not None and args.memory_limit <= 0:
        parser.error('--memory-limit must be more than 0')
    return args


def check(args: argparse.Namespace) -> None:
    """Find mistakes about images, embeddings and the gallery before the model is loaded."""
    from glsim_mm.search.base_encoder import SPACES, check_spaces
    from glsim_mm.search.pretrained_settings import check_address, read_region
    from retrieval.errors import RetrievalError
    from retrieval.gallery import is_folder
    from retrieval.gallery.database import DATABASE_FILE
    from retrieval.vectors import METRICS

    if args.encoder:
        check_address(args.encoder)
        args.region = read_region(args.region) if args.region else None
    roots = cli.read_roots(args.root)
    if not args.source and set(roots) - {''}:
        raise RetrievalError(f'--root {args.root[0]}: without --from, it is one folder; glsim add gives roots names')
    check_spaces(args.spaces, SPACES, 'a GLSim model')
    if args.metric is not None and args.metric not in METRICS:
        raise RetrievalError(f'metric must be one of {", ".join(METRICS)}, got {args.metric!r}')
    if not is_folder(args.out):
        cli.needs_packages('pymilvus', why='a gallery in Milvus')
    elif Path(args.out, DATABASE_FILE).exists() and not args.overwrite:
        raise RetrievalError(
            f'{args.out} is a gallery already: add images to it with glsim add, replace it with '
            '--overwrite, or choose another place'
        )
    else:
        _check_preset(args.preset or 'auto')
    if args.source:
        _check_source(args)
    cli.check_new_images(args)


def _check_source(args: argparse.Namespace) -> None:
    """A gallery that is opened for reading, and whose kind of index the new one can have."""
    from retrieval.gallery import is_folder, open_gallery

    with open_gallery(args.source) as gallery:
        if args.preset is None and is_folder(args.out):
            _check_preset(gallery.manifest.preset)


def _check_preset(preset: str) -> None:
    """A mistake here would otherwise be found when all images are encoded."""
    from retrieval.errors import RetrievalError
    from retrieval.index import PRESETS
    from retrieval.index.presets import check_preset
    from retrieval.index.training import empty_index
    from retrieval.vectors import import_faiss

    import_faiss()  # every preset needs it
    check_preset(preset)
    if preset == 'auto':
        return
    if preset in PRESETS:  # this FAISS may be too old for it
        empty_index(preset, (100_000, 384))
        return
    for dimension in (64, 96, 100, 128, 192, 256, 384, 512, 768, 1000, 1024, 1280, 1536, 2048):
        try:
            empty_index(preset, (1, dimension))
            return
        except RetrievalError:  # it is no factory string, or none for this dimension
            continue
    raise RetrievalError(f'preset {preset!r} is neither one of {", ".join(PRESETS)} nor a FAISS factory string')


def main(args: argparse.Namespace) -> cli.End:
    """Build and say what was done."""
    from glsim_mm.apis import load_config
    from glsim_mm.search import build_gallery, format_report, frozen_settings

    options = vars(args)
    options.pop('local_rank', None)
    roots = cli.read_roots(options.pop('root'))
    options['root'] = roots if options['source'] else roots.get('')
    images, out = (options.pop(name) for name in ('images', 'out'))
    address, arch, size, overrides = (options.pop(name) for name in ('encoder', 'arch', 'image_size', 'cfg_options'))
    scale, region = options.pop('crop_scale') or 1, options.pop('region')
    if address is None:
        model = load_config(options.pop('config'), overrides), options.pop('checkpoint')
    else:
        model = None, None
        options['encoder'] = frozen_settings(address, arch, size, scale=scale, region=region)
    gibibytes, progress = options.pop('memory_limit'), not options.pop('no_progress')
    memory_limit = None if gibibytes is None else int(gibibytes * 2**30)
    with cli.resumable():
        images = cli.new_images(images)
        report = build_gallery(images, *model, out, memory_limit=memory_limit, progress=progress, **options)
    if report is None:  # a process that encodes a part
        return cli.End()
    print(format_report(report))
    return cli.End('search', out, 'PHOTO.jpg')


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
