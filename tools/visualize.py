"""Draw where a model looked: glsim visualize CONFIG CHECKPOINT [--html FILE] [--selectors gls maws ...]."""

import argparse

import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description='Draw predictions on a data set: image, heat map of the selector, selected box (vermilion) and '
        'annotated one (sky blue), crop, likeliest classes; one picture each and a contact sheet'
    )
    cli.add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint: path or URL')
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
        '--colormap',
        choices=('cividis', 'viridis', 'magma', 'inferno', 'plasma', 'turbo'),
        default='cividis',
        help='colours of heat maps; default: cividis',
    )
    parser.add_argument(
        '--scaling',
        choices=('rank', 'linear'),
        default='rank',
        help='what colours stand for: the rank of a patch, comparable between selectors, or its score; default: rank',
    )
    parser.add_argument('--panel-side', type=int, default=192, help='height of the images in pixels; default: 192')
    cli.add_overrides(parser)
    args = parser.parse_args(argv)
    if not 96 <= args.panel_side <= 2048:
        parser.error('--panel-side must be 96 to 2048')
    if args.selectors and (args.html or args.mistakes_first or args.only_mistakes):
        parser.error('--selectors compares regions, not predictions; leave out --html and the options on mistakes')
    return args


def check(args: argparse.Namespace) -> None:
    """Refuse unknown selectors."""
    from glsim_mm.selectors import SELECTORS, check_selectors

    if args.selectors:
        check_selectors(args.selectors, [*SELECTORS, 'own'])


def main(args: argparse.Namespace) -> cli.End:
    """Draw."""
    from glsim_mm import apis

    config = apis.load_config(args.config, args.cfg_options)
    options = apis.PictureOptions(
        num_images=args.num,
        split=args.split,
        side=args.panel_side,
        colormap=args.colormap,
        scaling=args.scaling,
        mistakes_first=args.mistakes_first,
        only_mistakes=args.only_mistakes,
    )
    if args.selectors:
        print(f'selectors in {apis.draw_selectors(config, args.checkpoint, args.selectors, args.out_dir, options)}')
        return cli.End()
    written = apis.draw_test_set(config, args.checkpoint, args.out_dir, options, args.html)
    if written.sheet:
        print(f'{len(written.panels)} pictures in {args.out_dir}, all of them in {written.sheet}')
    else:
        print('no mistake, so no picture')
    return cli.End('export', args.config, args.checkpoint, '--out', 'model.onnx')


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
