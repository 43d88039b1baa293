"""Train the model of a config: glsim train CONFIG."""

import argparse
from contextlib import nullcontext

import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description='Train a model')
    cli.add_config(parser)
    cli.add_run_options(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without a path, from the latest one in the work directory',
    )
    parser.add_argument('--no-validate', action='store_true', help='do not validate during training')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    parser.add_argument('--no-persistent-workers', action='store_true', help='restart data workers every epoch')
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Train."""
    from glsim_mm import apis

    with nullcontext() if args.verbose else apis.RunConsole() as console:
        cfg = apis.load_config(args.config)
        apis.set_work_dir(cfg, args.config, args.work_dir)
        apis.set_training_options(cfg, args.resume, args.amp, args.auto_scale_lr, not args.no_validate)
        apis.set_dataloader_options(cfg, not args.no_pin_memory, not args.no_persistent_workers)
        if args.allow_missing_classes:
            apis.allow_missing_classes(cfg)
        cfg.launcher = args.launcher
        runner = apis.run_training(apis.override(cfg, args.cfg_options or {}), console)
    best = apis.find_best_checkpoint(runner)
    config = str(apis.written_config(runner)) if args.cfg_options else args.config
    return cli.End(*(['test', config, best] if best else []), written=[runner.work_dir])


if __name__ == '__main__':
    cli.run(main, parse_args())
