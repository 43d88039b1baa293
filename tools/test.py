"""Test the model of a config: glsim test CONFIG CHECKPOINT."""

import argparse
from contextlib import nullcontext

import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description='Test a model')
    cli.add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint: path or URL')
    cli.add_run_options(parser)
    parser.add_argument('--out', type=cli.OutputFile, help='file for the results')
    parser.add_argument('--out-item', choices=['metrics', 'pred'], help='what --out gets; default: pred')
    parser.add_argument('--show-dir', type=cli.OutputFolder, help='folder for pictures of the predictions')
    parser.add_argument('--show', action='store_true', help='show pictures of the predictions in a window')
    cli.add_number(parser, '--interval', 'draw every n-th image', 1)
    parser.add_argument('--wait-time', type=float, default=2, help='seconds to show each picture')
    parser.add_argument(
        '--error-report',
        type=cli.OutputFile,
        metavar='FILE',
        help='write the mistakes with pictures to this HTML file',
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation, by default mirroring')
    parser.add_argument(
        '--off-centre',
        action='store_true',
        help='shift and shrink the test photos within borders of training photos, see docs/studies/why_look_twice.md',
    )
    args = parser.parse_args(argv)
    if args.out_item and not args.out:
        parser.error('--out-item needs --out')
    return args


def check(args: argparse.Namespace) -> None:
    """Refuse options that exclude each other, and files that cannot hold the results."""
    from glsim_mm.result_files import check_result_file, check_views

    check_views(args.tta, bool(args.show or args.show_dir), bool(args.error_report))
    if args.out:
        check_result_file(args.out, args.out_item or 'pred')


def main(args: argparse.Namespace) -> cli.End:
    """Test."""
    from glsim_mm import apis

    pictures = dict(out_dir=args.show_dir, show=args.show, interval=args.interval, wait_time=args.wait_time)
    cfg = apis.load_config(args.config)
    apis.set_work_dir(cfg, args.config, args.work_dir)
    wants_pictures = args.show or args.show_dir is not None
    apis.set_test_options(cfg, args.checkpoint, args.amp, args.tta, pictures if wants_pictures else None)
    apis.set_dataloader_options(cfg, not args.no_pin_memory)
    if args.allow_missing_classes:
        apis.allow_missing_classes(cfg)
    cfg.launcher = args.launcher
    apis.override(cfg, args.cfg_options or {})
    if args.off_centre:
        apis.set_off_centre(cfg)
    with nullcontext() if args.verbose else apis.RunConsole() as console:
        apis.run_testing(cfg, args.out, args.out_item or 'pred', args.error_report, console)
    return cli.End('infer', args.config, args.checkpoint, 'PHOTO.jpg', written=[cfg.work_dir])


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
